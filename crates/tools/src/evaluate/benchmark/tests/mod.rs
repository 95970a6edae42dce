//! Whole runs on small data sets in the published layouts.

mod bad_input;
mod fixtures;
mod parity;

use std::cell::Cell;
use std::rc::Rc;

use super::report::{check_alike, differences};
use super::results::generate_missing;
use super::*;
use fixtures::{
    options, random_image, rows, save, towers, write_dream_bench, write_emu_edit, write_magic_brush,
};
use unireal::Image;

/// Runs with the small fixture networks; returns the report and the number of images that they encoded.
fn run_with(options: &Options) -> Result<(Report, usize)> {
    let encoded = Rc::new(Cell::new(0));
    let profile = Profile::named(&options.profile)?;
    let report = measure(options, profile, |needed| {
        let (mut all, names) = towers(&encoded);
        all.retain(|tower, _| needed.contains(tower));
        Ok((all, names))
    })?;
    Ok((report, encoded.get()))
}

/// Creates a finished run on `count` rows of EMU Edit, with results drawn from `seed`, and returns its folder.
pub(in crate::evaluate) fn finished_run(
    folder: &Path,
    name: &str,
    count: i64,
    seed: u64,
) -> PathBuf {
    write_emu_edit(&folder.join("set"), &rows(count));
    for idx in 0..count {
        save(
            folder.join(format!("{name}-results/{idx}.png")),
            &random_image(seed + idx as u64, 20, 16),
        );
    }
    let mut options = options("emu-edit/ultraedit", folder);
    options.images = Some(folder.join(format!("{name}-results")));
    options.out = folder.join(name);
    options.name = name.into();
    run_with(&options).unwrap();
    options.out
}

/// Fails unless a message contains all these texts.
#[track_caller]
pub(in crate::evaluate) fn assert_contains(message: &str, texts: &[&str]) {
    for text in texts {
        assert!(message.contains(text), "\"{text}\" is not in: {message}");
    }
}

/// Fails unless two reports are equal; values that were written and read back may differ in their last digit.
#[track_caller]
fn assert_same(a: &Report, b: &Report) {
    let without_metrics = |report: &Report| Report {
        metrics: BTreeMap::new(),
        ..report.clone()
    };
    assert_eq!(without_metrics(a), without_metrics(b));
    assert!(a.metrics.keys().eq(b.metrics.keys()), "{a:?}");
    for (a, b) in a.metrics.values().zip(b.metrics.values()) {
        let differences = [a.mean - b.mean, a.low - b.low, a.high - b.high];
        let equal = differences.iter().all(|d| d.abs() < 1e-12);
        assert!(equal, "{a:?}, {b:?}");
    }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

/// With the input as the result nothing differs, and the directional similarity is 0.
#[test]
fn copying_the_input_scores_as_the_definitions_require() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(5);
    write_emu_edit(&folder.path().join("set"), &rows);
    for row in &rows {
        let image = Image::decode(&row.image, "row").unwrap();
        save(
            folder.path().join(format!("results/{}.png", row.idx)),
            &image,
        );
    }
    let options = options("emu-edit/ultraedit", folder.path());
    let (report, encoded) = run_with(&options).unwrap();
    assert_eq!((report.cases, report.groups, report.left_out), (5, 5, 0));
    let mean = |name: &str| report.metrics[name].mean;
    assert!(near(mean("l1"), 0.0) && near(mean("clip-i"), 1.0) && near(mean("dino"), 1.0));
    assert!(near(mean("clip-dir"), 0.0), "{}", mean("clip-dir"));
    assert!(encoded > 0);

    // A second run reuses all scores; a case whose result has changed is scored again.
    let (again, encoded) = run_with(&options).unwrap();
    assert_eq!(encoded, 0);
    assert_same(&again, &report);
    save(
        folder.path().join("results/3.png"),
        &random_image(9, 20, 16),
    );
    let (changed, encoded) = run_with(&options).unwrap();
    assert!(changed.metrics["l1"].mean > 0.01 && encoded > 0);
    // A truncated score file is recomputed.
    std::fs::write(options.out.join("cases/add-0.json"), "{\"id\": \"ad").unwrap();
    assert_same(&run_with(&options).unwrap().0, &changed);

    // Excludes rows with equal captions.
    let filtered = Options {
        profile: "emu-edit/icedit".into(),
        exclude: None,
        out: folder.path().join("filtered"),
        ..options.clone()
    };
    let (report, _) = run_with(&filtered).unwrap();
    assert_eq!((report.cases, report.left_out), (4, 1));
    // Excludes rows of a list.
    let list = folder.path().join("list.txt");
    std::fs::write(&list, "add-0\n\nglobal-3\n").unwrap();
    let listed = Options {
        exclude: Some(list),
        out: folder.path().join("listed"),
        ..options
    };
    let (report, _) = run_with(&listed).unwrap();
    assert_eq!((report.cases, report.left_out), (3, 2));
}

/// The true results score perfectly in both settings, which pair different files.
#[test]
fn magic_brush_pairs_its_turns() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    write_magic_brush(&set, &[1, 3]);
    let ground_truth = |session: usize, turn: usize| {
        Image::open(set.join(format!("images/{session}/{session}-output{turn}.png"))).unwrap()
    };
    let results = folder.path().join("results");
    save(results.join("139/139_1.png"), &ground_truth(139, 1));
    save(results.join("140/140_1.png"), &ground_truth(140, 1));
    for turn in [2, 3] {
        for kind in ["inde", "iter"] {
            save(
                results.join(format!("140/140_{kind}_{turn}.png")),
                &ground_truth(140, turn),
            );
        }
    }
    let run = |profile: &str| {
        let out = folder.path().join(profile);
        let options = Options {
            out,
            ..options(profile, folder.path())
        };
        run_with(&options).unwrap().0
    };
    let all = run("magicbrush/all-turn");
    let last = run("magicbrush/final-turn");
    assert_eq!((all.cases, all.groups), (4, 2));
    assert_eq!((last.cases, last.groups), (2, 2));
    for report in [&all, &last] {
        let perfect =
            near(report.metrics["l2"].mean, 0.0) && near(report.metrics["dino"].mean, 1.0);
        assert!(perfect, "{report:?}");
    }
    // Human judges see all prompts since the input image.
    let final_turn = Run::read(&folder.path().join("magicbrush/final-turn")).unwrap();
    let scored = &final_turn.cases["140-3"];
    assert_eq!(
        scored.prompt,
        "change 1 of 140; then change 2 of 140; then change 3 of 140"
    );
    assert!(scored.input.ends_with("140-input.png"), "{scored:?}");
    // In the independent setting, another result of the second turn changes the score.
    save(results.join("140/140_inde_2.png"), &random_image(5, 18, 14));
    save(results.join("140/140_iter_2.png"), &random_image(5, 18, 14));
    assert!(run("magicbrush/all-turn").metrics["l1"].mean > 0.01);
    assert_eq!(run("magicbrush/final-turn").metrics["l1"].mean, 0.0);
}

/// The iterative setting uses the previous turn's result as input, the independent one the true source.
#[test]
fn turns_continue_from_results_or_from_the_ground_truth() {
    let folder = tempfile::tempdir().unwrap();
    write_magic_brush(&folder.path().join("set"), &[3]);
    let inputs = |final_turn: bool| {
        let cases = magic_brush::load(&folder.path().join("set"), final_turn).unwrap();
        let out = folder.path().join(format!("{final_turn}"));
        let mut inputs = Vec::new();
        let generated = generate_missing(&cases, &out, |_, number, input| {
            inputs.push(input);
            Ok(random_image(500 + number, 18, 14))
        });
        assert_eq!(generated.unwrap().len(), 3);
        let scored = cases.cases.iter().filter(|case| case.is_scored).count();
        assert_eq!(scored, if final_turn { 1 } else { 3 });
        inputs
    };
    let ground_truth = |turn: u64| random_image(turn, 18, 14);
    assert_eq!(
        inputs(false),
        [ground_truth(0), ground_truth(1), ground_truth(2)]
    );
    assert_eq!(
        inputs(true),
        [
            ground_truth(0),
            random_image(500, 18, 14),
            random_image(501, 18, 14)
        ]
    );
}

/// An interrupted run ends with the same images and generates each only once.
#[test]
fn generation_resumes_where_it_was_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    write_dream_bench(&folder.path().join("set"));
    let cases = dream_bench::load(&folder.path().join("set")).unwrap();
    let out = folder.path().join("run");
    let mut generated: Vec<String> = Vec::new();
    for attempt in 0..10 {
        let mut left = 1;
        let result = generate_missing(&cases, &out, |case, number, _| {
            if left == 0 {
                return Err(Error::Aborted);
            }
            left -= 1;
            generated.push(case.id.clone());
            Ok(random_image(number, 8, 8))
        });
        // A process killed while writing an image leaves such a file.
        std::fs::write(out.join("images/rex-01.partial"), "half").unwrap();
        if matches!(result, Err(Error::Aborted)) {
            continue;
        }
        assert_eq!(attempt, 3, "one image per attempt");
        for (id, path) in result.unwrap() {
            let number = cases.cases.iter().position(|case| case.id == id).unwrap();
            assert_eq!(
                Image::open(&path).unwrap(),
                random_image(number as u64, 8, 8)
            );
        }
        break;
    }
    assert_eq!(generated, ["mug-00", "mug-01", "rex-00", "rex-01"]);
}

/// A subject's score is the mean over all its images; objects and live subjects have different prompts.
#[test]
fn dream_bench_compares_with_every_image_of_the_subject() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    write_dream_bench(&set);
    let cases = dream_bench::load(&set).unwrap();
    let found = cases.cases.iter().map(|case| {
        let (prompt, caption) = (case.prompt.as_str(), case.caption.as_str());
        (prompt, caption, case.references.len())
    });
    let found: Vec<_> = found.collect();
    let expected = [
        ("a cup of IMG1 in the sea", "a cup in the sea", 3),
        ("a red cup of IMG1", "a red cup", 3),
        ("a dog of IMG1 in a hat", "a dog in a hat", 2),
        ("a wet dog of IMG1", "a wet dog", 2),
    ];
    assert_eq!(found, expected);
    // JPEG is lossy, so the expected image is the decoded file.
    let cup = Image::open(set.join("mug/00.jpg")).unwrap();
    for name in ["mug/00", "mug/01", "rex/00", "rex/01"] {
        save(folder.path().join(format!("results/{name}.png")), &cup);
    }
    let (report, _) = run_with(&options("dreambench", folder.path())).unwrap();
    assert_eq!((report.cases, report.groups), (4, 2));
    let of_cup = report.metrics["clip-i"].high;
    assert!(
        of_cup < 1.0 - 1e-3,
        "one image of three is the result itself: {of_cup}"
    );
}

#[test]
fn dream_bench_plus_reads_captions_and_images() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    let image = set.join("images/live_subject/animal/00.jpg");
    save(image.clone(), &random_image(1, 16, 16));
    let captions = set.join("captions/live_subject/animal");
    std::fs::create_dir_all(&captions).unwrap();
    let text = "Grey cat\na Grey cat asleep\na poster of a Grey cat\n";
    std::fs::write(captions.join("00.txt"), text).unwrap();
    let reference = Image::open(&image).unwrap();
    for i in 0..2 {
        let name = format!("results/live_subject_animal_00_grey_cat/{i}_0.png");
        save(folder.path().join(name), &reference);
    }
    let (report, _) = run_with(&options("dreambench++", folder.path())).unwrap();
    assert_eq!((report.cases, report.groups), (2, 1));
    for name in ["clip-i", "dino", "dinov2"] {
        assert!(
            (report.metrics[name].mean - 100.0).abs() < 1e-4,
            "{report:?}"
        );
    }
}

/// Runs a profile on the rows of `set`, with each input made brighter as its result, and returns the finished run.
fn brightened_run(folder: &Path, profile: &str, name: &str, brighter: u8, exclude: &str) -> Run {
    for row in &rows(6) {
        let mut image = Image::decode(&row.image, "row").unwrap();
        let values = image.rgb.iter_mut();
        values.for_each(|v| *v = v.saturating_add(brighter));
        save(folder.join(format!("{name}/{}.png", row.idx)), &image);
    }
    let mut options = options(profile, folder);
    options.images = Some(folder.join(name));
    options.out = folder.join(format!("run-{name}"));
    options.name = name.into();
    if let Some(path) = &options.exclude {
        std::fs::write(path, exclude).unwrap();
    }
    run_with(&options).unwrap();
    Run::read(&options.out).unwrap()
}

/// Runs are compared case by case, and only if their scores were computed the same way.
#[test]
fn only_runs_of_one_profile_and_set_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    write_emu_edit(&folder.path().join("set"), &rows(6));
    let run = |profile: &str, name: &str, brighter: u8, exclude: &str| {
        brightened_run(folder.path(), profile, name, brighter, exclude)
    };
    let same = run("emu-edit/ultraedit", "same", 0, "");
    let bright = run("emu-edit/ultraedit", "bright", 51, "");
    check_alike(&same, &bright).unwrap();
    let change = differences(&same, &bright)["l1"];
    assert!(
        change.low > 0.1 && change.high < 0.2 && change.low < change.mean,
        "{change:?}"
    );
    let back = differences(&bright, &same)["l1"];
    assert!(near(back.mean, -change.mean), "{back:?}");

    let refused = |a: &Run, b: &Run| check_alike(a, b).unwrap_err().to_string();
    let other = run("emu-edit/icedit", "other", 0, "");
    assert_contains(&refused(&same, &other), &["emu-edit/icedit"]);
    let fewer = run("emu-edit/ultraedit", "fewer", 0, "add-0");
    assert_contains(&refused(&fewer, &same), &["add-0"]);
    let mut weights = run("emu-edit/ultraedit", "weights", 0, "");
    weights.report.backbones.insert("few".into(), "1".into());
    assert_contains(&refused(&same, &weights), &["weights of few"]);
    std::fs::remove_file(folder.path().join("run-same/cases/add-0.json")).unwrap();
    let fails = |path: &Path| Run::read(path).err().unwrap().to_string();
    let incomplete = fails(&folder.path().join("run-same"));
    assert_contains(&incomplete, &["cases: 5 files", "expected 6"]);
    assert_contains(&fails(folder.path()), &["report.json"]);
}

/// Text of the data set is escaped on the page.
#[test]
fn captions_and_prompts_stay_text() {
    let folder = tempfile::tempdir().unwrap();
    let markup =
        "</li></ol><script>window.struck = 1</script><img src=x onerror=\"window.struck = 1\"> & '";
    let mut rows = rows(2);
    rows[0].instruction = markup.into();
    rows[1].after = format!("{markup} | a | b");
    write_emu_edit(&folder.path().join("set"), &rows);
    for row in &rows {
        let name = format!("results/{}_{}.png", row.task, row.idx);
        save(folder.path().join(name), &random_image(3, 20, 16));
    }
    let mut options = options("emu-edit/ultraedit", folder.path());
    options.name = format!("<b>{markup}");
    run_with(&options).unwrap();
    let html = std::fs::read_to_string(options.out.join("index.html")).unwrap();
    let escaped = html.matches("&lt;script&gt;window.struck").count();
    assert_eq!(escaped, 5, "title, heading, table, prompt and caption");
    for element in ["<script", "<img src=x", "<b>&lt;/li"] {
        assert!(!html.contains(element), "{element}");
    }
    // Every image of the page exists.
    let sources = html.split("src=\"").skip(1);
    let sources: HashSet<&str> = sources.filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(sources.len(), 4);
    for source in sources {
        assert!(options.out.join(source).is_file(), "{source}");
    }
    let table = std::fs::read_to_string(options.out.join("report.md")).unwrap();
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let lines = table.lines().take_while(|line| line.starts_with('|'));
    let widths: HashSet<usize> = lines.map(cells).collect();
    assert_eq!(widths.len(), 1, "{table}");
    assert!(table.contains("| UniReal |"), "{table}");
}
