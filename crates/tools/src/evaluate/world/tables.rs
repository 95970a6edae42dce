//! Prints the report of `unireal evaluate world` as Markdown tables.

use super::super::cases::EDITS;
use super::super::score::Summary;
use super::Report;

/// Prints a table of edits, with their gains over copying the input, a table of packs and a table of the other kinds.
pub(super) fn print(report: &Report) {
    print_edits(report);
    print_packs(report);
    print_other_kinds(report);
}

fn decibels(value: Option<f64>) -> String {
    value.map_or("".into(), |v| format!("{v:.1}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or("".into(), |v| format!("{:.0}%", 100.0 * v))
}

fn print_edits(report: &Report) {
    say!(
        "| edit | cases | gain, dB | inside, dB | shadows, dB | outside, dB | right object | for the better |"
    );
    say!("|---|---|---|---|---|---|---|---|");
    let rows = EDITS
        .iter()
        .filter_map(|&name| Some((name, report.kinds.get(name)?)));
    for (name, s) in rows.chain(std::iter::once(("all", &report.edits))) {
        say!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} |",
            s.cases,
            decibels(s.whole_gain_db),
            decibels(s.inside_gain_db),
            decibels(s.shadow_gain_db),
            decibels(s.outside_db),
            percent(s.pointed),
            percent(s.right_object)
        );
    }
}

/// Prints the edits' means for every pack, with confidence intervals.
fn print_packs(report: &Report) {
    let cell = |summary: &Summary, name: &str, digits: usize| {
        let interval = summary.intervals.get(name);
        interval.map_or("".into(), |interval| interval.text(digits))
    };
    if report.edits.cases > 0 {
        say!(
            "\n| edits by | L1 | PSNR, dB | SSIM | inside, dB | shadows, dB | outside, dB | right object | for the better |"
        );
        say!("|---|---|---|---|---|---|---|---|---|");
    }
    for (name, s) in report.rows.iter().filter(|(_, s)| s.cases > 0) {
        say!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(s, "l1", 4),
            cell(s, "whole_db", 1),
            cell(s, "ssim", 3),
            cell(s, "inside_db", 1),
            cell(s, "shadow_db", 1),
            cell(s, "outside_db", 1),
            cell(s, "pointed", 2),
            cell(s, "right_object", 2)
        );
    }
    if report.rows.iter().any(|(_, s)| s.dino.is_some()) {
        say!("\n| edits by | CLIPdir | CLIP-I | CLIP-T | DINO |");
        say!("|---|---|---|---|---|");
        for (name, s) in &report.rows {
            let metrics = ["clip_direction", "clip_image", "clip_text", "dino"];
            let cells = metrics.map(|metric| cell(s, metric, 3));
            say!("| {name} | {} |", cells.join(" | "));
        }
    }
    if report.rows.iter().any(|(_, s)| s.cases > 0) {
        say!("\nIn brackets: 95% of bootstrap resamples of the cases.");
    }
}

fn print_other_kinds(report: &Report) {
    say!("\n| kind | cases | dB | colour and shape right | IoU | depth error |");
    say!("|---|---|---|---|---|---|");
    let is_edit = |name: &&str| EDITS.contains(name);
    for (name, s) in report.kinds.iter().filter(|(name, _)| !is_edit(name)) {
        say!(
            "| {name} | {} | {} | {} | {} | {} |",
            s.cases,
            decibels(s.whole_db),
            percent(s.recognised),
            s.iou.map_or("".into(), |v| format!("{v:.2}")),
            percent(s.depth_error)
        );
    }
}
