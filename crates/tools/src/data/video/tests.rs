use std::process::{Command, Stdio};

use super::*;
use std::io::Write as _;

/// Returns a frame of scene `scene`: a bright square that moves over a pattern.
fn frame(scene: usize, time: usize, w: usize, h: usize) -> Vec<u8> {
    let pixel = |i: usize| {
        let (x, y) = (i % w, i / w);
        let left = 6 + 2 * time;
        let inside = (left..left + 24).contains(&x) && (h / 4..h / 2).contains(&y);
        let (p, q) = (x as f32, y as f32);
        let grain = 14.0 * (0.5 * p + 0.2 * q).sin() + 10.0 * (0.4 * q - 0.1 * p).sin();
        match (inside, scene) {
            (true, _) => [230, 40, 30],
            (false, 0) => [110.0 + grain, 120.0 + grain, 60.0 + grain].map(|v| v as u8),
            (false, _) => [30.0 + grain, 50.0 + grain, 190.0 + grain].map(|v| v as u8),
        }
    };
    (0..w * h).flat_map(pixel).collect()
}

/// Encodes scenes of `length` frames at 12 frames per second.
fn film(path: &Path, scenes: usize, length: usize, extra: &[&str]) {
    let (w, h) = (160, 96);
    let mut child = Command::new("ffmpeg")
        .args([
            "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "160x96", "-r", "12",
            "-i", "-",
        ])
        .args(extra)
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("these tests need ffmpeg");
    let mut pipe = child.stdin.take().unwrap();
    for scene in 0..scenes {
        for time in 0..length {
            pipe.write_all(&frame(scene, time, w, h)).unwrap();
        }
    }
    drop(pipe);
    assert!(child.wait().unwrap().success());
}

const MPEG4: [&str; 4] = ["-c:v", "mpeg4", "-q:v", "2"];

fn settings() -> Settings {
    Settings {
        side: 64,
        rate: 12.0,
        ..Settings::default()
    }
}

#[test]
fn a_video_is_cut_into_its_shots_with_the_right_frames() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two scenes.mp4");
    film(&path, 2, 15, &MPEG4);
    let found = probe(&path, Duration::from_secs(20)).unwrap();
    assert_eq!(found.size, (160, 96));
    assert!((found.rate - 12.0).abs() < 1e-6 && (found.seconds.unwrap() - 2.5).abs() < 0.1);
    let mut counts = Counts::default();
    let (clips, fit) = clips(&path, &settings(), &mut counts).unwrap();
    assert_eq!(clips.len(), 2);
    assert_eq!(counts.dropped["cut that ends a shot"], 1);
    for (scene, clip) in clips.iter().enumerate() {
        assert_eq!(clip.frames.len(), 15);
        assert_eq!(clip.name, "two scenes.mp4");
        for (time, image) in clip.frames.iter().enumerate() {
            assert_eq!(clip.numbers[time], (15 * scene + time) as u64);
            let ground_truth = Image::from_rgb(160, 96, frame(scene, time, 160, 96)).unwrap();
            let ground_truth = fit.image(&ground_truth);
            let difference: u64 = (ground_truth.rgb.iter().zip(&image.rgb))
                .map(|(a, b)| u64::from(a.abs_diff(*b)))
                .sum();
            let mean = difference as f32 / image.rgb.len() as f32;
            assert!(mean < 8.0, "scene {scene} frame {time}: off by {mean}");
        }
    }
}

#[test]
fn long_videos_give_as_many_clips_as_asked_spread_over_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.mp4");
    film(&path, 1, 40, &MPEG4);
    let mut settings = settings();
    (settings.span, settings.clips) = (5, 2);
    let (clips, _) = clips(&path, &settings, &mut Counts::default()).unwrap();
    let starts: Vec<u64> = clips.iter().map(|clip| clip.numbers[0]).collect();
    assert_eq!(starts, [0, 20]);
}

#[test]
fn rotation_and_pixel_shape_are_taken_into_account() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.mkv");
    film(&path, 1, 6, &["-c:v", "mpeg4", "-aspect", "160:48"]);
    assert_eq!(
        probe(&path, Duration::from_secs(20)).unwrap().size,
        (320, 96)
    );
    let rotated: Value = serde_json::json!({"streams": [{
        "width": 1920, "height": 1080, "avg_frame_rate": "30000/1001", "side_data_list": [{"rotation": -90}],
    }], "format": {"duration": "3.5"}});
    let found = parse(&rotated).unwrap();
    assert_eq!((found.size, found.seconds), ((1080, 1920), Some(3.5)));
}

#[test]
fn broken_videos_are_named_and_do_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.mp4");
    film(&whole, 1, 12, &MPEG4);
    let bytes = std::fs::read(&whole).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let sound = folder.path().join("sound.wav");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "sine=duration=1"])
        .arg(&sound)
        .status();
    assert!(made.unwrap().success());
    for path in [
        write("truncated.mp4", &bytes[..bytes.len() / 2]),
        write("empty.mp4", b""),
        write("text.mp4", b"not a video\n"),
        write("zeros.mp4", &[0; 5000]),
        sound,
        folder.path().join("missing.mp4"),
        folder.path().to_owned(),
        write("-i.mp4", b"?"),
    ] {
        let error = clips(&path, &settings(), &mut Counts::default())
            .unwrap_err()
            .to_string();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(error.contains(&name), "{error}");
    }
    // Damage in the middle may be decoded or rejected, but must not hang or panic.
    for start in [200, 3000, 6000] {
        let mut damaged = bytes.clone();
        let end = (start + 400).min(damaged.len());
        damaged[start.min(end)..end]
            .iter_mut()
            .for_each(|byte| *byte ^= 0x5a);
        let _ = clips(
            &write("damaged.mp4", &damaged),
            &settings(),
            &mut Counts::default(),
        );
    }
}

#[test]
fn a_decoder_that_takes_too_long_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    film(&path, 1, 12, &MPEG4);
    let slow = Settings {
        limit: Duration::ZERO,
        ..settings()
    };
    let error = clips(&path, &slow, &mut Counts::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("longer than 0 s"), "{error}");
    let mut program = Program::start("sleep", &[], &["30"], Path::new("/")).unwrap();
    // `sleep / 30` fails at once; `cat` on a pipe without a writer waits for ever.
    assert!(program.output(Duration::from_secs(5), 10).is_err());
    let fifo = folder.path().join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let mut program = Program::start("cat", &[], &[], &fifo).unwrap();
    let started = Instant::now();
    let error = program.output(Duration::from_millis(300), 10).unwrap_err();
    assert!(error.contains("no output"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn selected_frames_are_sharp_and_keep_their_annotations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    film(&path, 1, 12, &MPEG4);
    let (mut clips, _) = clips(&path, &settings(), &mut Counts::default()).unwrap();
    let mut clip = clips.remove(0);
    for blurred in [0, 1, 4] {
        let frame = &clip.frames[blurred];
        let (w, h) = (frame.width, frame.height);
        clip.frames[blurred] = frame.resize(10, 6).resize(w, h);
    }
    let chosen = select(&clip, 4);
    assert_eq!(chosen.len(), 4);
    assert_eq!(chosen[0], 2);
    assert!(chosen.is_sorted() && !chosen.contains(&4));
    clip.depths = (0..12).map(|i| vec![i as f32]).collect();
    clip.instructions = vec![
        super::super::Instruction {
            from: chosen[1],
            to: chosen[3],
            texts: vec![],
        },
        super::super::Instruction {
            from: 0,
            to: 1,
            texts: vec![],
        },
    ];
    let selected = select_frames(clip.clone(), &chosen);
    assert_eq!(selected.frames[3], clip.frames[chosen[3]]);
    assert_eq!(selected.depths[1], [chosen[1] as f32]);
    assert_eq!(selected.instructions.len(), 1);
    assert_eq!(
        (selected.instructions[0].from, selected.instructions[0].to),
        (1, 3)
    );
    assert!(select(&Clip::default(), 4).is_empty());
}

#[test]
fn a_missing_program_is_named() {
    check_programs().expect("these tests need ffmpeg");
    let reason = check_program("unireal-no-such-program").unwrap_err();
    assert!(reason.contains("unireal-no-such-program"), "{reason}");
    // A program that starts but fails is as good as missing.
    assert!(check_program("false").is_err());
    let error = Program::start("unireal-no-such-program", &[], &[], Path::new("x"));
    assert!(matches!(error.err(), Some(Error::Unsupported(_))));
}
