//! Two-dimensional arrays in the format of NumPy, which numpy.save writes.

use super::maps::Map;

type Reason<T> = std::result::Result<T, String>;

/// Parses a two-dimensional array; returns the reason when it is not one.
pub(super) fn parse(bytes: &[u8]) -> Reason<Map<f32>> {
    let (header, data) = split_header(bytes)?;
    let kind = after(&header, "'descr'")
        .and_then(|text| text.get(1..4))
        .ok_or("reading the header: 'descr' is missing")?;
    if after(&header, "'fortran_order'").is_none_or(|text| text.starts_with("True")) {
        return Err("reading the array: it is stored by columns, expected rows".into());
    }
    let [height, width] = shape(&header)?;
    let size = match kind {
        "<f4" => 4,
        "<f8" => 8,
        "<f2" | "<u2" => 2,
        "|u1" => 1,
        other => {
            return Err(format!(
                "reading the array: values of type {other}, expected f2, f4, f8, u1 or u2"
            ));
        }
    };
    let count = width as usize * height as usize;
    if data.len() != size * count {
        return Err(format!(
            "reading the array: {} bytes, expected {width} x {height} values of {size} bytes",
            data.len()
        ));
    }
    let value = |b: &[u8]| match kind {
        "<f4" => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        "<f8" => f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32,
        "<f2" => half::f16::from_le_bytes([b[0], b[1]]).to_f32(),
        "<u2" => f32::from(u16::from_le_bytes([b[0], b[1]])),
        _ => f32::from(b[0]),
    };
    Ok((data.chunks_exact(size).map(value).collect(), width, height))
}

/// Splits a file into the text of its header and its data.
fn split_header(bytes: &[u8]) -> Reason<(String, &[u8])> {
    const SIGNATURE: &[u8] = b"\x93NUMPY";
    if bytes.len() < 12 || &bytes[..6] != SIGNATURE {
        return Err("reading the header: no NPY signature, expected \\x93NUMPY".into());
    }
    let (start, length) = match bytes[6] {
        1 => (10, u32::from(u16::from_le_bytes([bytes[8], bytes[9]]))),
        2 | 3 => (
            12,
            u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
        ),
        version => {
            return Err(format!(
                "reading the header: NPY version {version}, expected 1 to 3"
            ));
        }
    };
    let (header, data) = bytes[start..]
        .split_at_checked(length as usize)
        .ok_or("reading the header: the file ends within it")?;
    Ok((String::from_utf8_lossy(header).into_owned(), data))
}

/// Returns the header's text after a key and its colon.
fn after<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, text) = header.split_once(key)?;
    Some(text.trim_start().trim_start_matches(':').trim_start())
}

/// Returns the height and width.
fn shape(header: &str) -> Reason<[u32; 2]> {
    let shape = after(header, "'shape'").and_then(|text| text.strip_prefix('(')?.split_once(')'));
    let (sides, _) = shape.ok_or("reading the header: 'shape' is missing")?;
    let sides: Vec<&str> = sides
        .split(',')
        .map(str::trim)
        .filter(|side| !side.is_empty())
        .collect();
    let [height, width] = sides[..] else {
        return Err(format!(
            "reading the array: {} axes, expected 2",
            sides.len()
        ));
    };
    let side = |text: &str| {
        let side = text.parse().ok();
        side.filter(|side| (1..=16384u32).contains(side))
            .ok_or_else(|| {
                format!(
                    "reading the array: {width} x {height} values, expected sides of 1 to 16384"
                )
            })
    };
    Ok([side(height)?, side(width)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes of `numpy.save` for a 2 x 3 array such as `numpy.array([[1.5, 2.5, 3], [4, 5, 6]], dtype)`.
    fn saved(kind: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (2, 3), }}");
        let padded = format!("{header:<117}\n");
        [
            b"\x93NUMPY\x01\x00\x76\x00".as_slice(),
            padded.as_bytes(),
            data,
        ]
        .concat()
    }

    #[test]
    fn arrays_of_each_kind_are_read() {
        let values = [1.5f32, 2.5, 3.0, 4.0, 5.0, 6.0];
        let f4 = values.map(f32::to_le_bytes).concat();
        let f8 = values.map(|v| f64::from(v).to_le_bytes()).concat();
        let f2 = values
            .map(|v| half::f16::from_f32(v).to_le_bytes())
            .concat();
        for (kind, data) in [("<f4", &f4), ("<f8", &f8), ("<f2", &f2)] {
            assert_eq!(
                parse(&saved(kind, data)).unwrap(),
                (values.to_vec(), 3, 2),
                "{kind}"
            );
        }
        assert_eq!(parse(&saved("|u1", &[9; 6])).unwrap().0, [9.0; 6]);
    }

    #[test]
    fn wrong_arrays_say_what_is_wrong() {
        let good = saved("<f4", &[0; 24]);
        let text = |from: &str, to: &str| {
            let at = good
                .windows(from.len())
                .position(|w| w == from.as_bytes())
                .unwrap();
            let mut bytes = good.clone();
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
            parse(&bytes).unwrap_err()
        };
        assert!(text("<f4", "<c8").contains("<c8"));
        assert!(text("False", "True ").contains("columns"));
        assert!(text("(2, 3)", "(2, 9)").contains("24 bytes"));
        assert!(text("(2, 3)", "(6,  )").contains("1 axes"));
        for cut in [0, 5, 11, 60, 130] {
            assert!(parse(&good[..cut]).is_err(), "cut at {cut}");
        }
    }
}
