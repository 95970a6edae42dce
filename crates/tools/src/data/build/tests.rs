use super::super::shard;
use super::*;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn parse(line: &[&str], folder: &std::path::Path) -> std::result::Result<Options, clap::Error> {
    let arguments = ["build"]
        .iter()
        .chain(line)
        .map(|argument| argument.to_string());
    let paths = ["--out".to_owned(), folder.join("out").display().to_string()];
    Line::try_parse_from(arguments.chain(paths)).map(|line| line.options)
}

fn options(line: &[&str], folder: &std::path::Path) -> Options {
    parse(line, folder).unwrap()
}

/// Writes a video of a disc that rolls over the ground.
fn film(path: &std::path::Path, colour: [u8; 3]) {
    use std::io::Write as _;
    let mut child = std::process::Command::new("ffmpeg")
        .args([
            "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "128x96", "-r", "6",
            "-i", "-",
        ])
        .args(["-c:v", "mpeg4", "-q:v", "2"])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("these tests need ffmpeg");
    let mut pipe = child.stdin.take().unwrap();
    for t in 0..14 {
        let at = 20.0 + 6.0 * t as f32;
        let pixel = |i: usize| {
            let (x, y) = ((i % 128) as f32, (i / 128) as f32);
            let grain = 25.0 * (0.35 * x + 0.2 * y).sin() + 20.0 * (0.3 * y - 0.11 * x).sin();
            if (x - at).hypot(y - 48.0) < 12.0 {
                colour
            } else {
                [130.0 + grain, 125.0 + grain, 110.0 + grain].map(|v| v as u8)
            }
        };
        pipe.write_all(&(0..128 * 96).flat_map(pixel).collect::<Vec<u8>>())
            .unwrap();
    }
    drop(pipe);
    assert!(child.wait().unwrap().success());
}

fn videos() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, colour) in [
        ("a red one", [215, 30, 30]),
        ("blue", [30, 40, 215]),
        ("green", [20, 190, 40]),
    ] {
        film(&folder.path().join(format!("{name}.mp4")), colour);
    }
    std::fs::write(folder.path().join("broken.mp4"), "this is not a video").unwrap();
    std::fs::write(folder.path().join("empty.webm"), "").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not looked at").unwrap();
    folder
}

fn shards(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let paths = shard::find(&[folder.join("out")]).unwrap();
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(path).unwrap())
    };
    paths.into_iter().map(named).collect()
}

#[test]
fn videos_become_shards_broken_ones_are_reported_and_a_rerun_changes_nothing() {
    let folder = videos();
    let videos = folder.path().display().to_string();
    let line = ["--videos", &videos, "--size", "64", "--shard", "10"];
    let options = options(&line, folder.path());
    let report = build(&options).unwrap();
    assert_eq!(
        (report.items, report.skipped, report.failed.len()),
        (5, 0, 2),
        "{report}"
    );
    assert!(
        report
            .failed
            .keys()
            .any(|name| name.ends_with("broken.mp4")),
        "{report}"
    );
    for kind in [
        "frame-to-frame/instruction",
        "segmentation",
        "insertion/erased",
        "object-add",
        "customisation/one",
    ] {
        assert!(
            report.counts.samples.contains_key(kind),
            "no {kind}: {report}"
        );
    }
    let mut count = 0;
    for path in shard::find(std::slice::from_ref(&options.out)).unwrap() {
        for sample in shard::read(&path).unwrap() {
            let sample = sample.unwrap();
            count += 1;
            assert!(sample.outputs[0].width % 16 == 0 && sample.outputs[0].height % 16 == 0);
            let file = sample.source["clip"].as_str().unwrap().to_owned();
            let colour = file
                .split(['.', ' '])
                .find(|w| ["red", "blue", "green"].contains(w))
                .unwrap()
                .to_owned();
            for prompt in &sample.prompts {
                for other in ["red", "blue", "green"]
                    .iter()
                    .filter(|other| **other != colour)
                {
                    assert!(!prompt.contains(other), "{file}: {prompt}");
                }
            }
        }
    }
    assert_eq!(count, report.samples());
    let before = shards(folder.path());
    let again = build(&options).unwrap();
    assert_eq!((again.skipped, again.failed.len()), (3, 2));
    assert_eq!(again.counts, report.counts);
    assert_eq!(shards(folder.path()), before);
}

#[test]
fn the_shards_do_not_depend_on_threads_or_on_a_kill_in_between() {
    let (one, other) = (videos(), videos());
    let run = |folder: &tempfile::TempDir, threads: &str| {
        let videos = folder.path().display().to_string();
        let line = [
            "--videos",
            &videos,
            "--size",
            "64",
            "--shard",
            "10",
            "--threads",
            threads,
        ];
        build(&options(&line, folder.path())).unwrap()
    };
    run(&one, "1");
    let whole = shards(one.path());
    // Simulates a kill after the first shard: the partial shard is lost, and the rest is built again.
    let out = one.path().join("out");
    std::fs::remove_file(out.join("part-0001-of-0001-00001.tar")).unwrap();
    std::fs::write(
        out.join("part-0001-of-0001-00001.tar.partial"),
        "half of a shard",
    )
    .unwrap();
    let last = out.join("part-0001-of-0001-00002.tar");
    std::fs::remove_file(&last).unwrap();
    run(&one, "3");
    assert_eq!(shards(one.path()), whole);
    assert_eq!(run(&other, "2").samples(), run(&other, "1").samples());
}

#[test]
fn parts_share_the_work_without_overlap() {
    let folder = videos();
    let videos = folder.path().display().to_string();
    let mut names = Vec::new();
    for part in ["1/2", "2/2"] {
        let line = [
            "--videos", &videos, "--size", "64", "--part", part, "--shard", "500",
        ];
        let report = build(&options(&line, folder.path())).unwrap();
        assert_eq!(report.skipped, 0);
        names.extend(report.shards);
    }
    assert_eq!(
        names,
        ["part-0001-of-0002-00000.tar", "part-0002-of-0002-00000.tar"]
    );
    let keys: Vec<String> = shard::find(&[folder.path().join("out")])
        .unwrap()
        .iter()
        .flat_map(|path| shard::encoded(path).unwrap().map(|s| s.unwrap().key))
        .collect();
    let distinct: HashSet<&String> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    // A build as one part then has nothing left to do.
    let line = ["--videos", &videos, "--size", "64"];
    assert_eq!(build(&options(&line, folder.path())).unwrap().skipped, 3);
}

#[test]
fn invalid_options_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display().to_string();
    for (line, expected) in [
        (vec!["--videos", &here], "nothing to build"),
        (vec!["--videos", "/nowhere/at/all"], "/nowhere/at/all"),
        (vec![], "nothing to build"),
        (vec!["--videos", &here, "--size", "7"], "7 px"),
        (vec!["--videos", &here, "--frames", "0"], "0 frames"),
        (vec!["--videos", &here, "--clips", "0"], "0 clips"),
        (vec!["--videos", &here, "--threads", "0"], "0 threads"),
    ] {
        let error = build(&options(&line, folder.path()))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    for text in ["0/2", "3/2", "1", "x/y", "1/0"] {
        assert!(parse_part(text).is_err(), "{text}");
    }
}

#[test]
fn options_of_an_endpoint_are_refused_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let error = |line: &[&str]| {
        let line = [&["--world", "1"], line].concat();
        parse(&line, folder.path()).err().map(|e| e.to_string())
    };
    for line in [["--model", "some-model"], ["--answers", "cache"]] {
        let error = error(&line).unwrap_or_else(|| panic!("{line:?} was accepted"));
        assert!(error.contains("--endpoint"), "{error}");
    }
    let endpoint = ["--endpoint", "http://localhost/v1"];
    assert!(error(&endpoint).is_some_and(|error| error.contains("--model")));
    let whole = [&endpoint[..], &["--model", "m", "--answers", "cache"]].concat();
    assert_eq!(error(&whole), None);
}

/// A report of part 1 of 1000 with one empty item.
fn report_with_an_empty_item(out: &std::path::Path) -> Report {
    let mut report = Report::open(out, "part-0001-of-1000", (1, 1000)).unwrap();
    let mut counts = kinds::Counts::default();
    counts.drop("short shot");
    counts.drop("short shot");
    report.add_empty("dull.mp4".into(), 3, &counts);
    report.save().unwrap();
    report
}

#[test]
fn a_rerun_still_counts_the_items_that_yielded_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = report_with_an_empty_item(folder.path());
    for _ in 0..2 {
        let again = Report::open(folder.path(), "part-0001-of-1000", (1, 1000)).unwrap();
        assert_eq!((again.clips, &again.counts), (3, &first.counts));
        assert_eq!(again.counts.dropped["short shot"], 2);
        assert_eq!(again.empty, first.empty);
        again.save().unwrap();
    }
    // Reports of earlier versions have no such counts.
    let path = folder.path().join("part-0001-of-1000.report.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("empty_counts");
    std::fs::write(&path, json.to_string()).unwrap();
    let old = Report::open(folder.path(), "part-0001-of-1000", (1, 1000)).unwrap();
    assert_eq!((old.clips, old.empty.len()), (0, 1));
}

#[test]
fn a_report_takes_only_the_shards_of_its_own_part() {
    let folder = tempfile::tempdir().unwrap();
    for (stem, clips) in [
        ("part-0001-of-1000-00000", 1),
        ("part-0001-of-10000-00000", 10),
        ("part-00010-of-1000-00000", 100),
    ] {
        let note = json!({"items": [stem], "clips": clips, "samples": {}, "dropped": {}});
        std::fs::write(folder.path().join(format!("{stem}.tar")), "").unwrap();
        std::fs::write(folder.path().join(format!("{stem}.json")), note.to_string()).unwrap();
    }
    let report = Report::open(folder.path(), "part-0001-of-1000", (1, 1000)).unwrap();
    assert_eq!(report.shards, ["part-0001-of-1000-00000.tar"]);
    assert_eq!(report.clips, 1);
}

#[test]
fn scenes_give_every_kind_and_held_out_wordings_differ() {
    let folder = tempfile::tempdir().unwrap();
    let line = [
        "--world", "3", "--seed", "5", "--size", "32", "--shard", "30",
    ];
    let report = build(&options(&line, folder.path())).unwrap();
    let kinds: HashSet<&str> = report
        .counts
        .samples
        .keys()
        .map(|name| name.split('/').next().unwrap())
        .collect();
    assert_eq!(kinds.len(), 9, "{report}");
    assert_eq!((report.items, report.clips), (3, 3));
    let prompts = |folder: &std::path::Path| -> HashSet<String> {
        let shards = shard::find(&[folder.join("out")]).unwrap();
        let samples = shards.iter().flat_map(|path| shard::encoded(path).unwrap());
        let asked = ["segmentation", "control", "object-add", "insertion"];
        samples
            .map(|sample| sample.unwrap())
            .filter(|sample| asked.contains(&json!(sample.kind).as_str().unwrap()))
            .flat_map(|sample| sample.prompts)
            .collect()
    };
    let training = prompts(folder.path());
    let other = tempfile::tempdir().unwrap();
    let held_out = [line.as_slice(), &["--held-out"]].concat();
    build(&options(&held_out, other.path())).unwrap();
    assert!(prompts(other.path()).is_disjoint(&training));
}

#[test]
fn exported_pairs_can_be_built_from() {
    let folder = videos();
    let videos = folder.path().display().to_string();
    let kit = folder.path().join("kit");
    let mut export = options(&["--videos", &videos, "--size", "64"], folder.path());
    export.out = kit.clone();
    super::super::export::export(&export).unwrap();
    let instructions = super::super::toolkit::instructions(&kit).unwrap();
    assert!(
        instructions
            .values()
            .any(|text| text.contains("to the right")),
        "{instructions:?}"
    );
    let kit = kit.display().to_string();
    let report = build(&options(
        &["--toolkit", &kit, "--size", "64"],
        folder.path(),
    ))
    .unwrap();
    assert!(report.failed.is_empty(), "{report}");
    for kind in [
        "frame-to-frame/instruction",
        "segmentation",
        "insertion/erased",
    ] {
        assert!(
            report.counts.samples.contains_key(kind),
            "no {kind}: {report}"
        );
    }
}

#[test]
fn annotation_files_replace_the_objects_found_by_motion() {
    let folder = videos();
    let videos = folder.path().join("blue.mp4").display().to_string();
    let mut frames = options(&["--videos", &videos, "--size", "64"], folder.path());
    frames.out = folder.path().join("frames");
    super::super::export::frames(&frames).unwrap();
    let notes = folder.path().join("notes");
    let mut count = 0;
    for path in shard::sorted_entries(&frames.out.join("blue")).unwrap() {
        let image = unireal::Image::open(&path).unwrap();
        let blue: Vec<bool> = image
            .rgb
            .chunks_exact(3)
            .map(|p| p[2] > 150 && p[0] < 100)
            .collect();
        let bounds = super::super::mask::bounds(&blue, image.width as usize).unwrap();
        let sides = bounds.fractions((image.width, image.height));
        let grounded =
            json!({"caption": "a marble on sand", "entities": [["a marble", [0, 8], [sides]]]});
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let values: Vec<u8> = blue.iter().map(|&on| u8::from(on)).collect();
        let ramp =
            (0..image.width * image.height).map(|i| (255 * i / (image.width * image.height)) as u8);
        for (kind, values) in [("masks", values), ("depth", ramp.collect())] {
            std::fs::create_dir_all(notes.join(kind).join("blue")).unwrap();
            let grey = image::GrayImage::from_raw(image.width, image.height, values).unwrap();
            grey.save(notes.join(kind).join("blue").join(format!("{stem}.png")))
                .unwrap();
        }
        std::fs::create_dir_all(notes.join("entities/blue")).unwrap();
        std::fs::write(
            notes.join("entities/blue").join(format!("{stem}.json")),
            grounded.to_string(),
        )
        .unwrap();
        count += 1;
    }
    assert_eq!(count, 4);
    let notes = notes.display().to_string();
    let line = ["--videos", &videos, "--size", "64", "--annotations", &notes];
    let report = build(&options(&line, folder.path())).unwrap();
    for kind in [
        "control/depth",
        "control/from-depth",
        "text-to-image",
        "segmentation",
    ] {
        assert!(
            report.counts.samples.contains_key(kind),
            "no {kind}: {report}"
        );
    }
    for path in shard::find(&[folder.path().join("out")]).unwrap() {
        for sample in shard::read(&path).unwrap().map(|sample| sample.unwrap()) {
            if sample.kind == super::super::Kind::Segmentation {
                assert!(
                    sample.prompts.iter().all(|p| p.contains("the marble")),
                    "{:?}",
                    sample.prompts
                );
            }
        }
    }
}

#[test]
fn a_note_without_its_items_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("part-0001-of-0001-00000.tar"), "").unwrap();
    let note = json!({"items": "a.mp4", "clips": 1, "samples": {}, "dropped": {}});
    std::fs::write(out.join("part-0001-of-0001-00000.json"), note.to_string()).unwrap();
    let error = build(&options(&["--world", "1"], folder.path())).unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error}");
    assert!(error.to_string().contains("00000.json"), "{error}");
}
