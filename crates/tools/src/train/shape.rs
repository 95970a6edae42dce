//! Checks that a run's folder holds a model of the shape in the settings.

use std::path::Path;

use serde_json::Value;

use super::settings::Settings;
use unireal::internals::config::Config;
use unireal::{Error, Result};

/// Fields that are measured with the weights and are not part of the shape.
const LATENT_STATISTICS: [&str; 2] = ["vae.scaling_factor", "vae.shift_factor"];

/// Compares the configuration in a run's folder with that of the settings.
///
/// # Errors
/// [`Error::Format`] that names every value that differs.
pub(super) fn check(run: &Path, settings: &Settings) -> Result<()> {
    let found = Config::read(run)?;
    let expected = settings.config()?;
    let different = differences(&found, &expected);
    if different.is_empty() {
        Ok(())
    } else {
        Err(Error::format(
            run.display().to_string(),
            format!(
                "the run has another shape than the settings: {}; use its settings or another folder",
                different.join("; ")
            ),
        ))
    }
}

/// Lists the differences between the shapes of two models, with both values.
fn differences(found: &Config, expected: &Config) -> Vec<String> {
    let json = |config: &Config| {
        let mut json = serde_json::json!({
            "text_encoder": config.text_encoder, "vae": config.vae, "transformer": config.transformer,
        });
        // Serialisation omits its default.
        json["transformer"]["attention"] = serde_json::json!(config.transformer.attention);
        json
    };
    let mut different = Vec::new();
    compare("", &json(found), &json(expected), &mut different);
    different
}

/// Adds the differences between two JSON values named `name` to `different`.
fn compare(name: &str, found: &Value, expected: &Value, different: &mut Vec<String>) {
    if let (Value::Object(fields), Value::Object(others)) = (found, expected) {
        let mut names: Vec<&String> = fields.keys().chain(others.keys()).collect();
        names.sort();
        names.dedup();
        for field in names {
            let name = match name {
                "" => field.clone(),
                name => format!("{name}.{field}"),
            };
            let value = |object: &Value| object.get(field).cloned().unwrap_or(Value::Null);
            compare(&name, &value(found), &value(expected), different);
        }
    } else if found != expected && !LATENT_STATISTICS.contains(&name) {
        different.push(format!("{name} is {found}, expected {expected}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_differs_is_named() {
        let expected = Config::tiny();
        let mut found = Config::tiny();
        found.vae.scaling_factor = 0.7;
        found.vae.shift_factor = Some(0.1);
        found.index.sample_size = 128;
        assert!(differences(&found, &expected).is_empty());
        found.transformer.hidden_size = 384;
        found.vae.block_out_channels = vec![16];
        assert_eq!(
            differences(&found, &expected),
            [
                "transformer.hidden_size is 384, expected 192",
                "vae.block_out_channels is [16], expected [8,24,48,64]"
            ]
        );
    }
}
