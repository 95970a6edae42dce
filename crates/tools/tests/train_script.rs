//! `scripts/train`: allows one run at a time, resumes after any kill, can be paused, and never signals another process.
#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const SETTINGS: &str = r#"{
  "preset": "tiny", "data": ["shards/32"], "threads": 2, "first_samples": 16, "save_seconds": 0.3, "preview_minutes": 0,
  "milestone_samples": 1600, "stages": [
    {"name": "autoencoder", "train": "vae", "size": 32, "steps": 1000000, "batch": 8, "learning_rate": 1e-3, "warmup": 5}
  ]
}"#;

struct Script {
    folder: tempfile::TempDir,
    run: PathBuf,
}

impl Script {
    fn new() -> Script {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("run.json"), SETTINGS).unwrap();
        let run = folder.path().join("run");
        Script { folder, run }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new("../../scripts/train");
        command
            .arg(name)
            .env("UNIREAL", env!("CARGO_BIN_EXE_unireal"))
            .env("UNIREAL_CONFIG", self.folder.path().join("run.json"))
            .env("UNIREAL_RUN", &self.run)
            .env("UNIREAL_DATA", self.folder.path().join("data"))
            .env("UNIREAL_CLIPS", "3");
        command
    }

    /// Returns the exit code and the output of a command.
    fn call(&self, name: &str) -> (i32, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(name).output().unwrap();
        let text = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
        (status.code().unwrap(), text.into_owned())
    }

    /// Returns the number of samples that `status` reports, 0 if it reports none.
    fn samples(&self) -> u64 {
        let (_, text) = self.call("status");
        let before = text.split(" samples, ").next().unwrap();
        let number = before.rsplit(' ').next().unwrap();
        number.parse().unwrap_or(0)
    }

    /// Returns the number of samples in the state that a new start resumes from.
    fn saved(&self) -> u64 {
        let Ok(bytes) = std::fs::read(self.run.join("resume/vae.safetensors")) else {
            return 0;
        };
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a whole file");
        let state = header.metadata().as_ref().unwrap()["state"].clone();
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        state["stages"]["autoencoder"]["samples"].as_u64().unwrap()
    }

    fn leader(&self) -> String {
        let text = std::fs::read_to_string(self.run.join("run.pid")).unwrap();
        text.split(' ').next().unwrap().to_owned()
    }

    fn wait(&self, what: &str, is: impl Fn(&Script) -> bool) {
        let start = Instant::now();
        while !is(self) {
            let log = std::fs::read_to_string(self.run.join("train.log"));
            let waited = start.elapsed() < Duration::from_secs(180);
            assert!(waited, "{what}: {:?}\n{log:?}", self.call("status"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.call("stop");
    }
}

fn kill(signal: &str, group: &str) {
    let status = Command::new("kill")
        .args([signal, "--", &format!("-{group}")])
        .status();
    assert!(status.unwrap().success());
}

/// Returns the state and start time of a process from `/proc`.
fn stat(pid: &str) -> Option<(String, String)> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.nth(18)?.to_owned()))
}

#[test]
fn a_run_survives_kills_and_can_be_paused() {
    let script = Script::new();
    assert_eq!(script.call("status").0, 3);
    assert_eq!(script.call("pause").0, 3);
    assert_eq!(script.call("stop").0, 3);

    // Of two simultaneous starts, one succeeds.
    let starts = [script.command("start"), script.command("start")];
    let starts = starts.map(|mut start| start.spawn().unwrap());
    let codes = starts.map(|mut start| start.wait().unwrap().code().unwrap());
    assert!(codes.contains(&0) && codes.contains(&1), "{codes:?}");
    script.wait("first samples", |s| s.samples() > 0 && s.saved() > 0);
    let (code, text) = script.call("status");
    assert_eq!(code, 0, "{text}");
    for part in ["running: ", "stage: autoencoder, ", " a second", "losses: "] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(script.call("start").0, 1);
    let nice = std::fs::read_to_string(format!("/proc/{}/stat", script.leader())).unwrap();
    assert_eq!(
        nice.rsplit_once(") ").unwrap().1.split(' ').nth(16),
        Some("19")
    );

    // A kill loses only the training since the last save.
    let before = script.samples();
    std::thread::sleep(Duration::from_millis(1500));
    let first = script.leader();
    kill("-KILL", &first);
    script.wait("the end", |s| s.call("status").0 == 3);
    let saved = script.saved();
    assert!(saved >= before, "{saved} saved, {before} shown before");
    assert_eq!(script.call("start").0, 0);
    script.wait("going on", |s| s.samples() > saved);
    assert_ne!(script.leader(), first);
    assert!(script.saved() >= saved);

    // A paused run neither exits nor trains.
    assert_eq!(script.call("pause").0, 0);
    let (code, text) = script.call("status");
    assert!(code == 3 && text.contains("paused: "), "{code}: {text}");
    assert_eq!(script.call("pause").0, 3);
    assert_eq!(script.call("start").0, 1);
    assert_eq!(stat(&script.leader()).unwrap().0, "T");
    let still = script.samples();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(script.samples(), still);
    assert_eq!(script.call("resume").0, 0);
    script.wait("going on after a pause", |s| s.samples() > still);
    script.wait("a milestone", |s| {
        s.call("status").1.contains("milestone: autoencoder at")
    });
    assert!(script.run.join("milestones/scores.csv").exists());

    // A benchmark pauses the run while it measures, and resumes it when it fails or is interrupted.
    for broken_off in [false, true] {
        let during = bench(&script, broken_off);
        assert!(during.starts_with("paused: "), "{during}");
        assert_eq!(script.call("status").0, 0);
    }
    // A run that was already paused stays paused.
    assert_eq!(script.call("pause").0, 0);
    let during = bench(&script, false);
    assert!(during.starts_with("paused: "), "{during}");
    assert!(script.call("status").1.starts_with("paused: "));

    // A paused run can be stopped.
    assert_eq!(script.call("stop").0, 0);
    assert_eq!(script.call("status").0, 3);
    assert_eq!(script.call("resume").0, 3);
}

/// Runs `scripts/bench` with a build that fails, or one that is interrupted; returns the output of `status` during the build.
fn bench(script: &Script, broken_off: bool) -> String {
    let folder = script.folder.path();
    let told = folder.join("told");
    let _ = std::fs::remove_file(&told);
    let program = |path: &Path, text: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let cache = folder.join("cache");
    program(&cache.join("unireal/torch/bin/python"), "exit 0");
    let end = if broken_off {
        "exec sleep 100"
    } else {
        "exit 1"
    };
    let cargo = format!(
        "scripts/train status >{0}.part\nmv {0}.part {0}\n{end}",
        told.display()
    );
    program(&folder.join("bin/cargo"), &cargo);
    let path = std::env::var("PATH").unwrap();
    let mut bench = Command::new("../../scripts/bench")
        .arg("scaling")
        .env("UNIREAL_RUN", &script.run)
        .env("XDG_CACHE_HOME", cache)
        .env("PATH", format!("{}:{path}", folder.join("bin").display()))
        .process_group(0)
        .spawn()
        .unwrap();
    script.wait("the bench", |_| told.exists());
    if broken_off {
        kill("-INT", &bench.id().to_string());
    }
    assert!(!bench.wait().unwrap().success());
    std::fs::read_to_string(told).unwrap()
}

/// The pid file of a dead run may name a process that reuses its id.
#[test]
fn a_recycled_pid_is_never_signalled() {
    let script = Script::new();
    std::fs::create_dir_all(&script.run).unwrap();
    let mut stranger = Command::new("setsid")
        .args(["sleep", "600"])
        .spawn()
        .unwrap();
    let pid = stranger.id().to_string();
    std::thread::sleep(Duration::from_millis(200));
    let time = stat(&pid).unwrap().1;
    std::fs::write(script.run.join("run.lock"), "").unwrap();
    // First with the process's actual start time, then with another one while the lock is held.
    std::fs::write(script.run.join("run.pid"), format!("{pid} {time}\n")).unwrap();
    for name in ["pause", "resume", "stop", "status"] {
        assert_eq!(script.call(name).0, 3, "{name}");
    }
    std::fs::write(script.run.join("run.pid"), format!("{pid} 1\n")).unwrap();
    let lock = script.run.join("run.lock");
    let mut holder = Command::new("flock")
        .arg(lock)
        .args(["sleep", "600"])
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    for name in ["pause", "resume", "stop", "status"] {
        assert_eq!(script.call(name).0, 3, "{name}");
    }
    assert!(stranger.try_wait().unwrap().is_none());
    assert_eq!(stat(&pid).unwrap().0, "S");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let children = Command::new("pkill")
        .args(["-P", &holder.id().to_string()])
        .status();
    assert!(children.unwrap().success());
    holder.wait().unwrap();
}
