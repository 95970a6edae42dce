//! Compares the written files with the scenes that they were rendered from.

use std::process::Command;

use super::*;
use unireal_tabletop::Scene;

fn options(out: &Path) -> Options {
    Options {
        out: Some(out.to_path_buf()),
        count: 1,
        seed: 11,
        size: 32,
        frames: 3,
        rate: 8,
        samples: Some(4),
        sheet: None,
        video: false,
        held_out: false,
    }
}

fn bytes_in(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn files_hold_the_ground_truth_and_are_reproducible() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(&options(one.path())).unwrap();
    run(&options(two.path())).unwrap();
    let folder = one.path().join("000011");
    assert_eq!(bytes_in(&folder), bytes_in(&two.path().join("000011")));

    let text = std::fs::read_to_string(folder.join("truth.json")).unwrap();
    let ground_truth: Value = serde_json::from_str(&text).unwrap();
    let scenes: Vec<Scene> = film(11, 3, 8.0);
    let frames = ground_truth["frames"].as_array().unwrap();
    assert_eq!(frames.len(), 3);
    for (frame, scene) in std::iter::zip(frames, &scenes) {
        let open = |key: &str| image::open(folder.join(frame[key].as_str().unwrap())).unwrap();
        let (mask, depth) = (open("mask").into_luma8(), open("depth").into_luma16());
        let solids = frame["solids"].as_array().unwrap();
        assert_eq!(solids.len(), scene.solids.len());
        for (object, solid) in std::iter::zip(solids, &scene.solids) {
            let value = object["mask_value"].as_u64().unwrap() as u8;
            let visible: Vec<(u32, u32)> = mask
                .enumerate_pixels()
                .filter(|(_, _, pixel)| pixel.0[0] == value)
                .map(|(x, y, _)| (x, y))
                .collect();
            assert_eq!(object["pixels"], visible.len());
            let [left, _, right, _] = [0, 1, 2, 3].map(|i| object["box"][i].as_f64().unwrap());
            let middle = visible.iter().map(|p| f64::from(p.0) + 0.5).sum::<f64>()
                / (32.0 * visible.len() as f64);
            assert!(left < middle && middle < right);
            // The nearest visible depth is about the centre's depth less the radius.
            let [_, _, centre] = scene.camera.project(1.0, solid.pose.position);
            let nearest = visible
                .iter()
                .map(|&(x, y)| depth.get_pixel(x, y).0[0])
                .min()
                .unwrap();
            let nearest = f32::from(nearest) / DEPTH_SCALE;
            assert!(
                (centre - 0.9..centre + 0.1).contains(&nearest),
                "{nearest} of {centre}"
            );
        }
    }
    assert!(ground_truth["edits"].as_array().unwrap().len() >= 3);
}

#[test]
fn a_video_holds_all_frames() {
    video::check().expect("ffmpeg");
    let out = tempfile::tempdir().unwrap();
    let mut options = options(out.path());
    (options.video, options.size, options.frames) = (true, 33, 7);
    run(&options).unwrap();
    let raw = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(out.path().join("000011.mp4"))
        .args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .unwrap();
    // The side of 33 is padded to 34, and no frame is missing.
    assert_eq!(raw.stdout.len(), 7 * 34 * 34 * 3);
    let last = Image::open(out.path().join("000011/frame-006.png")).unwrap();
    let decoded = &raw.stdout[6 * 34 * 34 * 3..];
    let mut error = 0.0;
    for (i, pixel) in last.rgb.chunks_exact(3).enumerate() {
        let at = 3 * (i / 33 * 34 + i % 33);
        error += (0..3)
            .map(|c| f64::from(pixel[c].abs_diff(decoded[at + c])))
            .sum::<f64>();
    }
    let error = error / last.rgb.len() as f64;
    assert!(error < 12.0, "{error} of 255 from the frame");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = run(&options(file.path())).unwrap_err().to_string();
    assert!(error.contains("000011"), "{error}");
}

#[test]
fn options_that_only_clips_use_need_a_folder_for_clips() {
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        _options: Options,
    }
    let parsed = |line: &[&str]| Line::try_parse_from(["world"].iter().chain(line)).is_ok();
    assert!(parsed(&["--sheet", "s.png"]));
    assert!(parsed(&[
        "--out",
        "clips",
        "--frames",
        "2",
        "--rate",
        "4",
        "--samples",
        "1"
    ]));
    for option in ["--frames", "--rate", "--samples"] {
        assert!(!parsed(&["--sheet", "s.png", option, "2"]), "{option}");
    }
    assert!(!parsed(&[]));
}
