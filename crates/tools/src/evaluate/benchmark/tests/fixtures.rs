//! Small data sets in the published layouts, and a feature extractor that computes a few numbers per image.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::super::scores::Tower;
use super::super::{Options, Towers};
use crate::evaluate::features::{Features, Preprocess};
use crate::evaluate::sampling::Sampling;
use unireal::Image;
use unireal::Result;
use unireal::internals::gpu::device::Choice;

/// Returns a random image, different for every seed.
pub(super) fn random_image(seed: u64, width: u32, height: u32) -> Image {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let rgb = (0..3 * width * height).map(|_| rng.random()).collect();
    Image::from_rgb(width, height, rgb).unwrap()
}

/// Saves an image and creates its folder.
pub(super) fn save(path: PathBuf, image: &Image) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(&path).unwrap();
}

/// Returns options with results in `results` and an exclusion list that is empty.
pub(super) fn options(profile: &str, folder: &Path) -> Options {
    let exclude = folder.join("exclude.txt");
    let listed = profile.ends_with("ultraedit");
    if listed && !exclude.exists() {
        std::fs::write(&exclude, "").unwrap();
    }
    Options {
        profile: profile.into(),
        data: folder.join("set"),
        pack: None,
        images: Some(folder.join("results")),
        backbones: None,
        out: folder.join("run"),
        name: "tested".into(),
        split: "test".into(),
        exclude: listed.then_some(exclude),
        seed: 0,
        sampling: Sampling {
            steps: Some(1),
            guidance: Some(1.0),
            image_guidance: 1.0,
            no_composite: false,
            device: Choice::Cpu,
        },
        json: false,
    }
}

/// A row of the EMU Edit test set.
#[derive(Clone)]
pub(super) struct Row {
    pub idx: i64,
    pub task: &'static str,
    pub instruction: String,
    pub before: String,
    pub after: String,
    pub image: Vec<u8>,
}

/// Returns rows with different images; the last has equal captions.
pub(super) fn rows(count: i64) -> Vec<Row> {
    (0..count)
        .map(|idx| Row {
            idx,
            task: if idx % 2 == 0 { "add" } else { "global" },
            instruction: format!("put {idx} hats on"),
            before: format!("{idx} heads"),
            after: if idx + 1 == count {
                format!("{idx} heads")
            } else {
                format!("{idx} heads with hats")
            },
            image: random_image(100 + idx as u64, 20, 16).to_png().unwrap(),
        })
        .collect()
}

/// Writes rows in the published layout: one file per split, images as bytes and a path.
pub(super) fn write_emu_edit(folder: &Path, rows: &[Row]) {
    let schema = "message schema { OPTIONAL BYTE_ARRAY instruction (UTF8); OPTIONAL GROUP image { OPTIONAL BYTE_ARRAY bytes; \
                  OPTIONAL BYTE_ARRAY path (UTF8); } OPTIONAL BYTE_ARRAY task (UTF8); OPTIONAL INT64 idx; \
                  OPTIONAL BYTE_ARRAY input_caption (UTF8); OPTIONAL BYTE_ARRAY output_caption (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let file = folder.join("data/test-00000-of-00001-0a1b2c.parquet");
    let properties = WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    let file = std::fs::File::create(file).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts = |of: &dyn Fn(&Row) -> Vec<u8>| -> Vec<ByteArray> {
        rows.iter().map(|row| of(row).into()).collect()
    };
    // Definition levels: the number of optional ancestors of a value that are present.
    let (deep, flat) = (vec![2i16; rows.len()], vec![1i16; rows.len()]);
    let columns: [Vec<ByteArray>; 7] = [
        texts(&|row| row.instruction.clone().into_bytes()),
        texts(&|row| row.image.clone()),
        texts(&|_| b"image.png".to_vec()),
        texts(&|row| row.task.as_bytes().to_vec()),
        Vec::new(),
        texts(&|row| row.before.clone().into_bytes()),
        texts(&|row| row.after.clone().into_bytes()),
    ];
    for (i, column) in columns.iter().enumerate() {
        let mut out = group.next_column().unwrap().unwrap();
        let levels = if i == 1 || i == 2 { &deep } else { &flat };
        if i == 4 {
            let idx: Vec<i64> = rows.iter().map(|row| row.idx).collect();
            let out = out.typed::<Int64Type>();
            out.write_batch(&idx, Some(levels), None).unwrap();
        } else {
            let out = out.typed::<ByteArrayType>();
            out.write_batch(column, Some(levels), None).unwrap();
        }
        out.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

/// Writes MagicBrush: one session per element of `turns`, of that number of turns.
pub(super) fn write_magic_brush(folder: &Path, turns: &[usize]) {
    let (mut sessions, mut flat) = (serde_json::Map::new(), Vec::new());
    let (mut global, mut local) = (serde_json::Map::new(), serde_json::Map::new());
    for (s, &turns) in turns.iter().enumerate() {
        let session = (139 + s).to_string();
        let name = |turn: usize| match turn {
            0 => format!("{session}-input.png"),
            n => format!("{session}-output{n}.png"),
        };
        let images = folder.join("images").join(&session);
        let mut list = Vec::new();
        for turn in 0..=turns {
            save(
                images.join(name(turn)),
                &random_image((1000 * s + turn) as u64, 18, 14),
            );
            if turn > 0 {
                let mask = format!("{session}-mask{turn}.png");
                save(images.join(&mask), &random_image(7, 18, 14));
                let instruction = format!("change {turn} of {session}");
                list.push(json!({"input": name(turn - 1), "mask": mask, "output": name(turn), "instruction": instruction}));
            }
        }
        let captions = |of: &str| -> serde_json::Map<_, _> {
            let caption = |turn| (name(turn), json!(format!("{of} {session} after {turn}")));
            (0..=turns).map(caption).collect()
        };
        global.insert(session.clone(), captions("all of").into());
        local.insert(session.clone(), captions("a part of").into());
        flat.extend(list.clone());
        sessions.insert(session, list.into());
    }
    write_json(folder, "edit_sessions.json", &sessions.into());
    write_json(folder, "edit_turns.json", &flat.into());
    write_json(folder, "global_descriptions.json", &global.into());
    write_json(folder, "local_descriptions.json", &local.into());
}

/// Writes a JSON file.
pub(super) fn write_json(folder: &Path, name: &str, value: &serde_json::Value) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), serde_json::to_vec(value).unwrap()).unwrap();
}

/// Writes DreamBench: an object with three images and a dog with two, with two prompts each.
pub(super) fn write_dream_bench(folder: &Path) {
    let text = "Classes\n\nsubject_name,class\nmug,cup\nrex,dog\n\nPrompts\n\nObject Prompts\n\nprompt_list = [\n\
                'a {0} {1} in the sea'.format(unique_token, class_token),\n'a red {0} {1}'.format(unique_token, class_token)\n]\n\n\
                Live Subject Prompts\n\nprompt_list = [\n'a {0} {1} in a hat'.format(unique_token, class_token),\n\
                'a wet {0} {1}'.format(unique_token, class_token)\n]\n";
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("prompts_and_classes.txt"), text).unwrap();
    let names = ["mug/00", "mug/01", "mug/04", "rex/02", "rex/03"];
    for (i, name) in names.iter().enumerate() {
        save(
            folder.join(format!("{name}.jpg")),
            &random_image(i as u64, 16, 16),
        );
    }
}

/// Computes features from the eighths of an image and from the bytes of a text; counts the images.
pub(super) struct Few(pub Rc<Cell<usize>>);

impl Features for Few {
    fn images(&self, images: &[Image], _: Preprocess) -> Result<Vec<Vec<f32>>> {
        self.0.set(self.0.get() + images.len());
        let vector = |image: &Image| {
            let eighth = image.rgb.len().div_ceil(8);
            let sum = |bytes: &[u8]| bytes.iter().map(|&b| f32::from(b) - 128.0).sum::<f32>();
            image.rgb.chunks(eighth).map(sum).collect()
        };
        Ok(images.iter().map(vector).collect())
    }

    fn texts(&self, captions: &[String]) -> Result<Vec<Vec<f32>>> {
        let vector = |text: &String| {
            let mut sums = vec![1f32; 8];
            for (i, b) in text.bytes().enumerate() {
                sums[(i + usize::from(b)) % 8] += f32::from(b % 31);
            }
            sums
        };
        Ok(captions.iter().map(vector).collect())
    }
}

/// Returns the three networks and their names.
pub(super) fn towers(encoded: &Rc<Cell<usize>>) -> Towers {
    let mut towers: HashMap<Tower, Box<dyn Features>> = HashMap::new();
    for tower in [Tower::Clip, Tower::Dino, Tower::Dinov2] {
        towers.insert(tower, Box::new(Few(encoded.clone())));
    }
    (towers, [("few".to_owned(), "0".to_owned())].into())
}
