//! Grounded captions in the format of Kosmos-2: a caption, and phrases of it with their boxes.

use std::path::Path;

use serde_json::Value;

use unireal::{Error, Result};

/// A box as fractions of the image: left, top, right, bottom.
pub type Box4 = [f32; 4];

/// A grounded caption of Kosmos-2.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grounded {
    /// The caption.
    pub caption: Option<String>,
    /// Phrases of the caption with their boxes.
    pub entities: Vec<(String, Vec<Box4>)>,
}

impl Grounded {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Format`] with what is wrong in it.
    pub fn read(path: &Path) -> Result<Grounded> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let value = serde_json::from_slice(&bytes).map_err(|e| Error::format(&name, e))?;
        Grounded::parse(&value).map_err(|reason| Error::format(&name, reason))
    }

    /// Parses JSON.
    ///
    /// # Errors
    /// A description of what is wrong.
    pub fn parse(value: &Value) -> std::result::Result<Grounded, String> {
        let list = value["entities"]
            .as_array()
            .ok_or("entities: missing, expected a list")?;
        let entities = list.iter().enumerate().map(|(i, entity)| {
            parse_entity(entity).map_err(|reason| format!("entity {i}: {reason}"))
        });
        let entities = entities.collect::<std::result::Result<_, String>>()?;
        let caption = match &value["caption"] {
            Value::Null => None,
            Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()),
            other => return Err(format!("caption: {other}, expected text")),
        };
        Ok(Grounded {
            caption: caption.map(str::to_owned),
            entities,
        })
    }

    /// Returns the JSON form. Each phrase's character range is looked up in the caption.
    pub fn to_json(&self) -> Value {
        let caption = self.caption.clone().unwrap_or_default();
        let entity = |(phrase, boxes): &(String, Vec<Box4>)| {
            let range = caption.find(phrase.as_str()).map_or([0, 0], |at| {
                let start = caption[..at].chars().count();
                [start, start + phrase.chars().count()]
            });
            serde_json::json!([phrase, range, boxes])
        };
        let entities: Vec<Value> = self.entities.iter().map(entity).collect();
        serde_json::json!({ "caption": caption, "entities": entities })
    }
}

/// Parses `[phrase, [start, end], [[x0, y0, x1, y1], ..]]`.
fn parse_entity(entity: &Value) -> std::result::Result<(String, Vec<Box4>), String> {
    let phrase = entity[0].as_str().map(str::trim).unwrap_or_default();
    if phrase.is_empty() {
        return Err(format!("the phrase is {}, expected text", entity[0]));
    }
    let boxes = entity[2]
        .as_array()
        .ok_or_else(|| format!("({phrase}) the boxes are {}, expected a list", entity[2]))?;
    let boxes: Option<Vec<Box4>> = boxes.iter().map(parse_box).collect();
    let boxes = boxes.ok_or_else(|| {
        format!(
            "({phrase}) the boxes are {}, expected left < right, top < bottom in 0..1",
            entity[2]
        )
    })?;
    Ok((phrase.to_owned(), boxes))
}

fn parse_box(value: &Value) -> Option<Box4> {
    let values = value.as_array().filter(|values| values.len() == 4)?;
    let mut sides = [0.0; 4];
    for (side, value) in sides.iter_mut().zip(values) {
        *side = value.as_f64()? as f32;
    }
    let inside = sides.iter().all(|side| (-0.01..=1.01).contains(side));
    (inside && sides[0] < sides[2] && sides[1] < sides[3]).then_some(sides)
}

/// Returns the intersection over union of two boxes.
pub(super) fn box_overlap(a: &Box4, b: &Box4) -> f32 {
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    let area = |b: &Box4| (b[2] - b[0]) * (b[3] - b[1]);
    let both = side(0) * side(1);
    both / (area(a) + area(b) - both).max(1e-9)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn grounded() -> Value {
        serde_json::json!({"caption": "A dog and a red car.", "entities": [
            ["a red car", [10, 19], [[0.125, 0.25, 0.375, 0.75]]],
            ["A dog", [0, 5], [[0.6, 0.25, 0.875, 0.75]]],
            ["stars", [0, 0], [[0.0, 0.0, 0.1, 0.1]]],
            ["two things", [0, 0], [[0.1, 0.2, 0.4, 0.7], [0.6, 0.2, 0.9, 0.7]]],
        ]})
    }

    #[test]
    fn grounded_captions_round_trip_and_invalid_ones_are_named() {
        let parsed = Grounded::parse(&grounded()).unwrap();
        let json = parsed.to_json();
        assert_eq!(json["entities"][0][1], serde_json::json!([10, 19]));
        assert_eq!(Grounded::parse(&json).unwrap(), parsed);
        for (wrong, expected) in [
            (serde_json::json!({}), "entities"),
            (
                serde_json::json!({"caption": 7, "entities": []}),
                "caption: 7",
            ),
            (
                serde_json::json!({"entities": [[7, [0, 1], []]]}),
                "entity 0",
            ),
            (
                serde_json::json!({"entities": [["x", [0, 1]]]}),
                "the boxes are null",
            ),
            (
                serde_json::json!({"entities": [["x", [0, 1], [[0.5, 0.0, 0.2, 1.0]]]]}),
                "(x)",
            ),
            (
                serde_json::json!({"entities": [["x", [0, 1], [[0, 0, 300, 200]]]]}),
                "0..1",
            ),
        ] {
            let error = Grounded::parse(&wrong).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
