//! Contact sheets of cards: labelled images side by side, with text below.

use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_6X10;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};

use unireal::Image;
use unireal::Role;

/// Longer side of an image on a sheet, in pixels.
const IMAGE_SIDE: u32 = 128;
const MARGIN: u32 = 6;
/// Extra space between inputs and outputs.
const GAP: u32 = 14;
/// Height of a line of text.
const LINE_HEIGHT: u32 = 11;
/// Width of a character.
const CHARACTER: u32 = 6;

/// Text colour.
pub(crate) const INK: Rgb888 = Rgb888::new(20, 20, 20);
/// Colour of secondary text.
pub(crate) const PALE: Rgb888 = Rgb888::new(110, 110, 110);
/// Frame colour of an output.
pub(crate) const RESULT: Rgb888 = Rgb888::new(0, 130, 60);

/// Returns the frame colour of an input.
pub(crate) fn role_colour(role: Role) -> Rgb888 {
    match role {
        Role::Canvas => Rgb888::new(20, 90, 200),
        Role::Asset => Rgb888::new(190, 90, 0),
        Role::Control => Rgb888::new(120, 30, 150),
    }
}

/// An image with its label and the colour of both label and frame.
pub(crate) type Labelled<'a> = (&'a Image, String, Rgb888);

/// One card of a sheet.
pub(crate) struct Card<'a> {
    /// Images on the left.
    pub(crate) inputs: Vec<Labelled<'a>>,
    /// Images on the right, after a gap.
    pub(crate) outputs: Vec<Labelled<'a>>,
    /// Text below the images; long lines are wrapped.
    pub(crate) lines: Vec<(String, Rgb888)>,
}

/// Draws a sheet with `columns` cards per row; each column is as wide as its widest card.
pub(crate) fn sheet(cards: &[Card<'_>], columns: usize) -> Image {
    let columns = columns.max(1);
    let images = |card: &Card<'_>| card.inputs.len() + card.outputs.len();
    let width = |column: usize| {
        let cards = cards.iter().skip(column).step_by(columns);
        let columns = cards.map(images).max().unwrap_or(0).max(3) as u32;
        MARGIN + columns * (IMAGE_SIDE + MARGIN) + GAP
    };
    let widths: Vec<u32> = (0..columns).map(width).collect();
    let drawn = cards.iter().zip(widths.iter().cycle());
    let drawn: Vec<Canvas> = drawn.map(|(card, width)| card.draw(*width)).collect();
    let rows: Vec<&[Canvas]> = drawn.chunks(columns).collect();
    let row_height = |row: &[Canvas]| row.iter().map(|card| card.0.height).max().unwrap_or(0);
    let height = rows.iter().map(|row| row_height(row)).sum();
    let mut sheet = Canvas::new(widths.iter().sum(), height);
    let mut top = 0;
    for row in rows {
        let mut left = 0;
        for (card, width) in row.iter().zip(&widths) {
            sheet.paste(&card.0, left, top);
            left += width;
        }
        top += row_height(row);
    }
    sheet.0
}

impl Card<'_> {
    fn draw(&self, width: u32) -> Canvas {
        let characters = ((width - 2 * MARGIN) / CHARACTER) as usize;
        let mut lines: Vec<(String, Rgb888)> = Vec::new();
        for (text, colour) in &self.lines {
            let wrapped = wrapped(text, characters);
            lines.extend(wrapped.into_iter().map(|line| (line, *colour)));
        }
        let top = MARGIN + LINE_HEIGHT;
        let images = || self.inputs.iter().chain(&self.outputs);
        let tallest = images().map(|(image, ..)| displayed_size(image).1).max();
        let image_height = tallest.unwrap_or(IMAGE_SIDE);
        let mut card = Canvas::new(
            width,
            top + image_height + MARGIN + LINE_HEIGHT * lines.len() as u32 + MARGIN,
        );
        for (i, (image, label, colour)) in images().enumerate() {
            let gap = if i >= self.inputs.len() { GAP } else { 0 };
            let left = MARGIN + i as u32 * (IMAGE_SIDE + MARGIN) + gap;
            card.write(label, left, 2, *colour);
            card.draw_framed(image, left, top, *colour);
        }
        let mut y = top + image_height + MARGIN;
        for (line, colour) in lines {
            card.write(&line, MARGIN, y, colour);
            y += LINE_HEIGHT;
        }
        card
    }
}

/// Wraps text into lines of at most `limit` characters, between words where possible.
fn wrapped(text: &str, limit: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let line = lines.last_mut().expect("there is a line");
            let space = usize::from(!line.is_empty());
            if line.chars().count() + space + rest.len().min(limit) > limit {
                lines.push(String::new());
                continue;
            }
            if space == 1 {
                line.push(' ');
            }
            line.extend(rest.drain(..rest.len().min(limit)));
        }
    }
    lines
}

/// An image as a drawing target.
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

    /// Draws a scaled image with a frame.
    fn draw_framed(&mut self, image: &Image, left: u32, top: u32, colour: Rgb888) {
        let (width, height) = displayed_size(image);
        let scaled = match width / image.width {
            0 => image.resize(width, height),
            factor => enlarged(image, factor),
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
        // The font has the characters of ISO 8859-1.
        let printable: String = text
            .chars()
            .map(|c| if (c as u32) < 256 { c } else { '?' })
            .collect();
        let style = MonoTextStyle::new(&FONT_6X10, colour);
        let at = Point::new(left as i32, top as i32);
        let _ = Text::with_baseline(&printable, at, style, Baseline::Top).draw(self);
    }
}

/// Returns the displayed size of an image: the largest that fits; small images scale by an integer factor.
fn displayed_size(image: &Image) -> (u32, u32) {
    let long = image.width.max(image.height);
    let side = |side: u32| {
        if long <= IMAGE_SIDE {
            side * (IMAGE_SIDE / long)
        } else {
            (side * IMAGE_SIDE / long).max(1)
        }
    };
    (side(image.width), side(image.height))
}

fn enlarged(image: &Image, factor: u32) -> Image {
    let (width, height) = (image.width * factor, image.height * factor);
    let pixel = |i: u32| {
        let at = 3 * (i / width / factor * image.width + i % width / factor) as usize;
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
}
