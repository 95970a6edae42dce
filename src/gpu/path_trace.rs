//! The path tracer of the tabletop world: `shaders/path_trace.wgsl`. Its reference is `world::render`, on the CPU.

use std::ops::Range;

use burn::tensor::Tensor;

use super::launch::{self, Shader, Threads};

const SHADER: Shader = Shader {
    name: "path_trace",
    texts: &[include_str!("../../shaders/path_trace.wgsl")],
    threads: Threads::Each([8, 8]),
};

/// Numbers of a pixel: light r, g, b; id; depth.
pub(crate) const NUMBERS: usize = 5;

/// Traces some rows of a picture. Nothing where the tensors are not on WebGPU or a limit of the device does not allow it.
///
/// # Shapes
/// `scene [s]` and `points [p]` as `world::pack` makes them, `sizes` (width, height, samples, bounces, solids, ground,
/// backdrop) to `[rows, width, 5]`.
pub(crate) fn path_trace(
    scene: &Tensor<1>,
    points: &Tensor<1>,
    sizes: [usize; 7],
    rows: Range<usize>,
) -> Option<Tensor<3>> {
    let width = sizes[0];
    let inputs = [launch::floats(scene)?, launch::floats(points)?];
    let sizes = [&sizes[..], &[rows.start, rows.len()]].concat();
    let shape = [rows.len(), width, NUMBERS];
    let light = SHADER.launch(
        [width, rows.len()],
        &[&inputs[0], &inputs[1]],
        &sizes,
        shape,
    )?;
    Some(launch::tensor(light))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shader_names_what_the_host_packs() {
        for (name, value) in crate::world::pack::names::NAMES {
            let start = format!("const {name} = ");
            let line = SHADER.texts[0]
                .lines()
                .find(|line| line.starts_with(&start));
            let line = line.unwrap_or_else(|| panic!("the shader has no {name}"));
            let text = line[start.len()..].trim_end_matches([';', 'u']);
            let found: f64 = text.parse().expect("a number");
            assert!(
                (found - value).abs() <= 1e-6 * value.abs(),
                "{name}: {found}, not {value}"
            );
        }
    }
}
