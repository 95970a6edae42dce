//! Parses a request from the page. A field of the wrong type is an [`Error::Request`] that names it.

use js_sys::{Array, Reflect, Uint8Array, Uint8ClampedArray};
use wasm_bindgen::prelude::*;

use super::js::{message, object};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::request::{Frame, MAX_IMAGES, Request};

/// Longest side of an input image in pixels.
pub const MAX_INPUT_SIDE: u32 = 8192;

/// Largest integer that JavaScript represents exactly: 2^53 - 1.
const MAX_WHOLE: f64 = 9_007_199_254_740_991.0;

/// Parses a request: `{ prompt, images: [{ width, height, data, role }], context, width, height, outputs, steps,
/// method, guidance, imageGuidance, composite, seed, previewEvery }`, of which only the prompt is required. `data` is
/// RGBA. Other fields default to [`Request::new`].
///
/// # Errors
/// [`Error::Request`] that names the field, its value and the allowed values.
pub fn parse(value: &JsValue) -> Result<Request> {
    let fields = Fields::of(value, "the request")?;
    let mut request = Request::new(fields.text("prompt")?.unwrap_or_default());
    if let Some(context) = fields.array("context")? {
        let tags = context.iter().map(|tag| match tag.as_string() {
            Some(tag) => tag.parse(),
            None => Err(wrong("context", &tag, "an array of tags, each a text")),
        });
        request.context = Some(tags.collect::<Result<_>>()?);
    }
    request.size = match (fields.side("width")?, fields.side("height")?) {
        (Some(width), Some(height)) => Some((width, height)),
        (None, None) => None,
        _ => {
            return Err(Error::Request(
                "width and height come together: give both or neither".into(),
            ));
        }
    };
    if let Some(outputs) = fields.count("outputs")? {
        request.outputs = outputs;
    }
    request.steps = fields.count("steps")?;
    if let Some(every) = fields.count("previewEvery")? {
        request.preview_every = every;
    }
    if let Some(method) = fields.text("method")? {
        request.method = method.parse()?;
    }
    if let Some(guidance) = fields.number("guidance")? {
        request.guidance = Some(guidance as f32);
    }
    if let Some(guidance) = fields.number("imageGuidance")? {
        request.image_guidance = guidance as f32;
    }
    if let Some(composite) = fields.flag("composite")? {
        request.composite = composite;
    }
    if let Some(seed) = fields.whole("seed", MAX_WHOLE)? {
        request.seed = seed as u64;
    }
    let images = fields.array("images")?.unwrap_or_default();
    if images.length() as usize > MAX_IMAGES {
        return Err(Error::Request(format!(
            "images holds {}; at most {MAX_IMAGES} can be named",
            images.length()
        )));
    }
    for (image, k) in images.iter().zip(1..) {
        request.frames.push(frame(&image, &format!("IMG{k}"))?);
    }
    Ok(request)
}

fn frame(value: &JsValue, name: &str) -> Result<Frame> {
    let fields = Fields::of(value, name)?;
    let role = fields.text("role")?;
    let role = role.ok_or_else(|| fields.missing("role", "canvas, asset or control"))?;
    let role = role.parse()?;
    let [width, height] = ["width", "height"].map(|side| {
        let length = fields.whole(side, f64::from(MAX_INPUT_SIDE))?;
        let length = length.filter(|length| *length >= 1.0);
        length.map(|length| length as u32).ok_or_else(|| {
            fields.missing(
                side,
                &format!("a number of pixels from 1 to {MAX_INPUT_SIDE}"),
            )
        })
    });
    let (width, height) = (width?, height?);
    let data = fields.get("data")?;
    let data = match data.dyn_ref::<Uint8ClampedArray>() {
        Some(data) => Uint8Array::new_with_byte_offset_and_length(
            &data.buffer(),
            data.byte_offset(),
            data.length(),
        ),
        None => data
            .dyn_into::<Uint8Array>()
            .map_err(|data| wrong(&fields.path("data"), &data, "a Uint8Array of RGBA"))?,
    };
    let needed = 4 * width as usize * height as usize;
    if data.length() as usize != needed {
        return Err(Error::Request(format!(
            "{} holds {} bytes; {width}x{height} pixels of RGBA are {needed}",
            fields.path("data"),
            data.length()
        )));
    }
    let mut rgba = Vec::new();
    rgba.try_reserve_exact(needed)
        .map_err(|_| Error::Memory(format!("{name} of {width}x{height} does not fit")))?;
    rgba.resize(needed, 0);
    data.copy_to(&mut rgba);
    let image = Image::from_rgba(width, height, &rgba)?;
    Ok(Frame { image, role })
}

/// Converts an image to `{ width, height, data }`, with RGBA in a buffer of its own.
pub(super) fn image_object(image: &Image) -> JsValue {
    object(&[
        ("width", image.width.into()),
        ("height", image.height.into()),
        ("data", Uint8Array::from(image.to_rgba().as_slice()).into()),
    ])
    .into()
}

/// Converts images to an array of [`image_object`] objects.
pub(super) fn image_array(images: &[Image]) -> JsValue {
    images.iter().map(image_object).collect::<Array>().into()
}

/// An object whose fields are read by name; null and undefined count as missing.
struct Fields<'a> {
    value: &'a JsValue,
    name: &'a str,
}

impl<'a> Fields<'a> {
    fn of(value: &'a JsValue, name: &'a str) -> Result<Self> {
        if value.is_object() {
            Ok(Fields { value, name })
        } else {
            Err(wrong(name, value, "an object"))
        }
    }

    /// Returns a field's name for messages. Fields of an image have its name in front, fields of the request do not.
    fn path(&self, field: &str) -> String {
        if self.name.starts_with("IMG") {
            format!("{}'s {field}", self.name)
        } else {
            field.to_owned()
        }
    }

    fn missing(&self, field: &str, needed: &str) -> Error {
        match self.get(field) {
            Ok(value) => wrong(&self.path(field), &value, needed),
            Err(e) => e,
        }
    }

    fn get(&self, field: &str) -> Result<JsValue> {
        Reflect::get(self.value, &field.into()).map_err(|thrown| {
            Error::Request(format!(
                "{} cannot be read: {}",
                self.path(field),
                message(&thrown)
            ))
        })
    }

    fn optional(&self, field: &str) -> Result<Option<JsValue>> {
        let value = self.get(field)?;
        Ok((!value.is_null() && !value.is_undefined()).then_some(value))
    }

    fn text(&self, field: &str) -> Result<Option<String>> {
        let Some(value) = self.optional(field)? else {
            return Ok(None);
        };
        let text = value.as_string();
        let text = text.ok_or_else(|| wrong(&self.path(field), &value, "a text"));
        text.map(Some)
    }

    fn flag(&self, field: &str) -> Result<Option<bool>> {
        let Some(value) = self.optional(field)? else {
            return Ok(None);
        };
        let flag = value.as_bool();
        let flag = flag.ok_or_else(|| wrong(&self.path(field), &value, "true or false"));
        flag.map(Some)
    }

    fn array(&self, field: &str) -> Result<Option<Array>> {
        let value = self.optional(field)?.map(JsValue::dyn_into);
        value
            .transpose()
            .map_err(|value| wrong(&self.path(field), &value, "an array"))
    }

    fn number(&self, field: &str) -> Result<Option<f64>> {
        let Some(value) = self.optional(field)? else {
            return Ok(None);
        };
        let number = value.as_f64().filter(|number| number.is_finite());
        let number = number.ok_or_else(|| wrong(&self.path(field), &value, "a finite number"));
        number.map(Some)
    }

    fn whole(&self, field: &str, largest: f64) -> Result<Option<f64>> {
        let number = self.number(field)?;
        match number {
            Some(n) if n.fract() != 0.0 || !(0.0..=largest).contains(&n) => Err(wrong(
                &self.path(field),
                &n.into(),
                &format!("a whole number from 0 to {largest}"),
            )),
            number => Ok(number),
        }
    }

    fn count(&self, field: &str) -> Result<Option<usize>> {
        let number = self.whole(field, f64::from(i32::MAX))?;
        Ok(number.map(|number| number as usize))
    }

    fn side(&self, field: &str) -> Result<Option<u32>> {
        let number = self.whole(field, f64::from(i32::MAX))?;
        Ok(number.map(|number| number as u32))
    }
}

fn wrong(field: &str, value: &JsValue, needed: &str) -> Error {
    let held = match value {
        v if v.is_undefined() => "missing".to_owned(),
        v if v.is_null() => "null".to_owned(),
        v => match (v.as_f64(), v.as_string()) {
            (Some(number), _) => number.to_string(),
            (None, Some(text)) => format!("\"{}\"", text.chars().take(40).collect::<String>()),
            (None, None) if Array::is_array(v) => "an array".to_owned(),
            (None, None) => {
                let kind = v.js_typeof().as_string().unwrap_or_default();
                format!("of type {kind}")
            }
        },
    };
    Error::Request(format!("{field} is {held}, expected {needed}"))
}
