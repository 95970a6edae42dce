//! Parsers of command-line values whose types the library defines.

use std::ffi::OsString;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use unireal::internals::cpu::gemm::engine::Precision;
use unireal::internals::weights::quant::Encoding;

/// Returns a parser of [`Encoding`] that lists the possible values in `--help`.
pub(crate) fn encoding() -> impl TypedValueParser<Value = Encoding> {
    PossibleValuesParser::new([
        PossibleValue::new("f32").help("32-bit floats"),
        PossibleValue::new("f16").help("16-bit floats on the wire, 32-bit ones on the device"),
        PossibleValue::new("q8").help("8 bits per value and one scale per 32 values"),
        PossibleValue::new("q4").help("4 bits per value and one scale per 32 values"),
    ])
    .try_map(|text| text.parse())
}

/// Returns a parser of [`Precision`] that lists the possible values in `--help`.
pub(crate) fn precision() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new([
        PossibleValue::new("f32").help("32-bit floats"),
        PossibleValue::new("bf16").help("operands rounded to bf16"),
    ])
    .try_map(|text| text.parse())
}

/// Options renamed since version 0.1: the old and the new name.
const RENAMED: [(&str, &str); 1] = [("--no-keep", "--no-composite")];

/// Warns about options given by their old names, which version 0.3 removes.
pub fn warn_of_old_names(arguments: impl Iterator<Item = OsString>) {
    for argument in arguments {
        if let Some((old, new)) = RENAMED.iter().find(|(old, _)| argument == *old) {
            eprintln!("unireal: {old} is now {new}; version 0.3 removes the old name");
        }
    }
}
