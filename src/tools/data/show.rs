//! `unireal data show`: contact sheets, one a kind: the inputs with their roles, the outputs, and the words under them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_6X10;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use serde_json::json;

use super::sample::{Kind, Sample};
use super::shard;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::request::Role;

/// What `unireal data show` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Shards, or folders of shards
    #[arg(required = true, value_name = "DIR|FILE")]
    pub shards: Vec<PathBuf>,
    /// Folder for the sheets
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Samples on a sheet
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub count: usize,
}

/// Longer side of a picture on a sheet.
const PICTURE: u32 = 128;
const MARGIN: u32 = 6;
/// Height of a line of text.
const LINE: u32 = 11;
/// Width of a letter.
const LETTER: u32 = 6;
/// Cards beside each other.
const COLUMNS: u32 = 2;
/// Prompts that are written out.
const PROMPTS: usize = 3;

/// Draws the sheets and names the files.
///
/// # Errors
/// As [`sheets`], and [`Error::Format`] when a file cannot be written.
pub fn run(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.out)
        .map_err(|e| Error::format(options.out.display().to_string(), e))?;
    for (kind, sheet) in sheets(&options.shards, options.count)? {
        let path = options.out.join(format!("{}.png", kind_name(kind)));
        sheet.save(&path)?;
        say!("{}", path.display());
    }
    Ok(())
}

fn kind_name(kind: Kind) -> String {
    json!(kind).as_str().unwrap_or_default().to_owned()
}

/// A sheet for each kind that the shards hold, of at most `count` samples with the variants in turn.
///
/// # Errors
/// [`Error::Format`] for what cannot be read, [`Error::Request`] when there is no sample at all.
pub fn sheets(paths: &[PathBuf], count: usize) -> Result<Vec<(Kind, Image)>> {
    let mut chosen: BTreeMap<Kind, BTreeMap<String, Vec<Sample>>> = BTreeMap::new();
    for path in shard::find(paths)? {
        for sample in shard::encoded(&path)? {
            let sample = sample?;
            let variants = chosen.entry(sample.kind).or_default();
            let variant = variants.entry(sample.variant.clone()).or_default();
            if variant.len() < count {
                variant.push(sample.decode()?);
            }
        }
    }
    if chosen.is_empty() {
        return Err(Error::Request("the shards hold no sample to show".into()));
    }
    let sheet = |(kind, variants): (Kind, BTreeMap<String, Vec<Sample>>)| {
        let mut samples = Vec::new();
        for turn in 0..count {
            samples.extend(variants.values().filter_map(|variant| variant.get(turn)));
        }
        samples.truncate(count);
        (kind, sheet(&samples))
    };
    Ok(chosen.into_iter().map(sheet).collect())
}

fn sheet(samples: &[&Sample]) -> Image {
    let pictures = |s: &&Sample| s.inputs.len() + s.outputs.len();
    let most = samples.iter().map(pictures).max().unwrap_or(1).max(3) as u32;
    let width = MARGIN + most * (PICTURE + MARGIN) + 14;
    let cards: Vec<Canvas> = samples.iter().map(|sample| card(sample, width)).collect();
    let rows: Vec<&[Canvas]> = cards.chunks(COLUMNS as usize).collect();
    let tall = |row: &&[Canvas]| row.iter().map(|card| card.0.height).max().unwrap_or(0);
    let height = rows.iter().map(tall).sum();
    let mut sheet = Canvas::new(COLUMNS * width, height);
    let mut top = 0;
    for row in rows {
        for (column, card) in row.iter().enumerate() {
            sheet.paste(&card.0, column as u32 * width, top);
        }
        top += tall(&row);
    }
    sheet.0
}

const INK: Rgb888 = Rgb888::new(20, 20, 20);
const PALE: Rgb888 = Rgb888::new(110, 110, 110);

fn role_colour(role: Role) -> Rgb888 {
    match role {
        Role::Canvas => Rgb888::new(20, 90, 200),
        Role::Asset => Rgb888::new(190, 90, 0),
        Role::Control => Rgb888::new(120, 30, 150),
    }
}

/// One sample.
fn card(sample: &Sample, width: u32) -> Canvas {
    let letters = ((width - 2 * MARGIN) / LETTER) as usize;
    let mut lines: Vec<(String, Rgb888)> = Vec::new();
    for prompt in sample.prompts.iter().take(PROMPTS) {
        lines.extend(wrapped(prompt, letters).into_iter().map(|line| (line, INK)));
    }
    let tags: Vec<&str> = sample.context.iter().map(|tag| tag.name()).collect();
    let about = format!("[{}] {} {}", tags.join(", "), sample.variant, sample.source);
    lines.extend(
        wrapped(&about, letters)
            .into_iter()
            .map(|line| (line, PALE)),
    );
    let top = MARGIN + LINE;
    let images = sample
        .inputs
        .iter()
        .map(|(image, _)| image)
        .chain(&sample.outputs);
    let tall = images.map(|image| shown(image).1).max().unwrap_or(PICTURE);
    let mut card = Canvas::new(
        width,
        top + tall + MARGIN + LINE * lines.len() as u32 + MARGIN,
    );
    let inputs = sample.inputs.iter().enumerate();
    let mut pictures: Vec<(&Image, String, Rgb888)> = inputs
        .map(|(i, (image, role))| {
            (
                image,
                format!("IMG{} {}", i + 1, role.name()),
                role_colour(*role),
            )
        })
        .collect();
    let outputs = sample.outputs.iter().enumerate();
    let result = Rgb888::new(0, 130, 60);
    pictures.extend(outputs.map(|(i, image)| (image, format!("RES{}", i + 1), result)));
    for (i, (image, label, colour)) in pictures.into_iter().enumerate() {
        let gap = if i >= sample.inputs.len() { 14 } else { 0 };
        let left = MARGIN + i as u32 * (PICTURE + MARGIN) + gap;
        card.write(&label, left, 2, colour);
        card.framed(image, left, top, colour);
    }
    let mut y = top + tall + MARGIN;
    for (line, colour) in lines {
        card.write(&line, MARGIN, y, colour);
        y += LINE;
    }
    card
}

/// Lines of at most `letters` letters, broken between words where that is possible.
fn wrapped(text: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let line = lines.last_mut().expect("there is a line");
            let space = usize::from(!line.is_empty());
            if line.chars().count() + space + rest.len().min(letters) > letters {
                lines.push(String::new());
                continue;
            }
            if space == 1 {
                line.push(' ');
            }
            line.extend(rest.drain(..rest.len().min(letters)));
        }
    }
    lines
}

/// A picture to draw on.
struct Canvas(Image);

impl Canvas {
    fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let rgb = vec![250; 3 * (width * height) as usize];
        Canvas(Image { width, height, rgb })
    }

    fn paste(&mut self, image: &Image, left: u32, top: u32) {
        for y in 0..image.height.min(self.0.height.saturating_sub(top)) {
            let to = 3 * ((top + y) * self.0.width + left) as usize;
            let from = 3 * (y * image.width) as usize;
            let length = 3 * image.width.min(self.0.width - left) as usize;
            self.0.rgb[to..to + length].copy_from_slice(&image.rgb[from..from + length]);
        }
    }

    /// The picture at its place.
    fn framed(&mut self, image: &Image, left: u32, top: u32, colour: Rgb888) {
        let (width, height) = shown(image);
        let scaled = match width / image.width {
            0 => image.resize(width, height),
            times => enlarged(image, times),
        };
        self.paste(&scaled, left, top);
        let corner = Point::new(left as i32 - 1, top as i32 - 1);
        let frame = Rectangle::new(corner, Size::new(width + 2, height + 2));
        // Drawing on this target cannot fail.
        let _ = frame
            .into_styled(PrimitiveStyle::with_stroke(colour, 1))
            .draw(self);
    }

    fn write(&mut self, text: &str, left: u32, top: u32, colour: Rgb888) {
        let known: String = text
            .chars()
            .map(|c| if (c as u32) < 256 { c } else { '?' })
            .collect();
        let style = MonoTextStyle::new(&FONT_6X10, colour);
        let at = Point::new(left as i32, top as i32);
        let _ = Text::with_baseline(&known, at, style, Baseline::Top).draw(self);
    }
}

/// The largest size of a picture that fits; small ones grow by a whole number.
fn shown(image: &Image) -> (u32, u32) {
    let long = image.width.max(image.height);
    let side = |side: u32| match long <= PICTURE {
        true => side * (PICTURE / long),
        false => (side * PICTURE / long).max(1),
    };
    (side(image.width), side(image.height))
}

fn enlarged(image: &Image, times: u32) -> Image {
    let (width, height) = (image.width * times, image.height * times);
    let pixel = |i: u32| {
        let at = 3 * (i / width / times * image.width + i % width / times) as usize;
        [image.rgb[at], image.rgb[at + 1], image.rgb[at + 2]]
    };
    Image {
        width,
        height,
        rgb: (0..width * height).flat_map(pixel).collect(),
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width, self.0.height)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> std::result::Result<(), Self::Error> {
        let area = self.bounding_box();
        for Pixel(at, colour) in pixels.into_iter().filter(|Pixel(at, _)| area.contains(*at)) {
            let i = 3 * (at.y as u32 * self.0.width + at.x as u32) as usize;
            self.0.rgb[i..i + 3].copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words_and_long_words_are_cut() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn a_sheet_shows_the_pictures_and_marks_the_roles() {
        let image = |colour: [u8; 3]| Image::from_rgb(64, 32, colour.repeat(64 * 32)).unwrap();
        let sample = Sample {
            kind: Kind::Insertion,
            variant: String::new(),
            prompts: vec!["words with ünïcode and 漢字".into(), "x".repeat(500)],
            context: vec![],
            inputs: vec![
                (image([9, 99, 9]), Role::Canvas),
                (image([9, 9, 99]), Role::Asset),
            ],
            outputs: vec![image([99, 9, 9])],
            changed: None,
            source: json!({}),
        };
        let sheet = sheet(&[&sample, &sample, &sample]);
        let count = |colour: [u8; 3]| sheet.rgb.chunks_exact(3).filter(|p| **p == colour).count();
        for colour in [[9, 99, 9], [9, 9, 99], [99, 9, 9]] {
            assert_eq!(count(colour), 3 * 128 * 64);
        }
        let frame = |role| {
            let colour = role_colour(role);
            count([colour.r(), colour.g(), colour.b()])
        };
        assert!(
            frame(Role::Canvas) >= 3 * 2 * (130 + 64) && frame(Role::Asset) >= 3 * 2 * (130 + 64)
        );
    }
}
