//! Errors of `unireal data` and `unireal world` that concern the environment: missing programs and variables.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the command with a PATH that holds no program.
fn unireal(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unireal"))
        .args(arguments)
        .current_dir(folder)
        .env("PATH", folder)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_missing_ffmpeg_fails_the_command_and_not_each_video() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("video.mp4"), "any bytes").unwrap();
    let videos = ["--videos", "video.mp4", "--out", "out"];
    for command in ["build", "export", "frames"] {
        let arguments = [&["data", command], &videos[..]].concat();
        let output = unireal(&arguments, folder.path());
        let error = stderr(&output);
        assert!(!output.status.success(), "{command}: {error}");
        assert!(error.contains("ffprobe"), "{command}: {error}");
        assert!(!error.contains("video.mp4"), "{command}: {error}");
    }
    let video = ["world", "--count", "1", "--out", "out", "--video"];
    let output = unireal(&video, folder.path());
    assert!(!output.status.success());
    assert!(stderr(&output).contains("ffmpeg"), "{}", stderr(&output));
    assert!(!folder.path().join("out").exists());
}

#[test]
fn scenes_need_no_program() {
    let folder = tempfile::tempdir().unwrap();
    let scene = ["--world", "1", "--easy", "--size", "32", "--out", "out"];
    let output = unireal(&[&["data", "build"], &scene[..]].concat(), folder.path());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        folder
            .path()
            .join("out/part-0001-of-0001-00000.tar")
            .exists()
    );
}

#[cfg(unix)]
#[test]
fn an_api_key_that_is_not_unicode_is_an_error() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_unireal"))
        .args(["data", "build", "--world", "1", "--out", "out"])
        .args(["--endpoint", "http://127.0.0.1:9/v1", "--model", "m"])
        .current_dir(folder.path())
        .env("OPENAI_API_KEY", OsStr::from_bytes(b"\xff"))
        .output()
        .unwrap();
    let error = stderr(&output);
    assert!(!output.status.success(), "{error}");
    assert!(error.contains("OPENAI_API_KEY"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_unicode_is_accepted_by_the_command_line() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_unireal"))
        .args(["data", "build", "--out", "out", "--videos"])
        .arg(OsStr::from_bytes(b"missing-\xff.mp4"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("missing-"), "{error}");
}

#[test]
fn an_unknown_value_of_the_precision_variable_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_unireal"))
        .args(["inspect", "pack"])
        .env("UNIREAL_BF16", "fast")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let error = stderr(&output);
    assert!(!output.status.success());
    assert!(
        error.contains("UNIREAL_BF16") && error.contains("avx512"),
        "{error}"
    );
}
