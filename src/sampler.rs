//! Flow-matching samplers: free functions over closures that integrate a velocity field from noise to image, independent of the
//! model.
//!
//! Convention: `x_t = (1 - t) x0 + t eps` and `v = eps - x0`, so time runs from 1 (noise) to 0 (image). The schedule and the
//! Euler step are those of diffusers' `FlowMatchEulerDiscreteScheduler` with sigmas from 1 to 1/n.

use std::ops::ControlFlow;

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::request::Method;

/// Returns the `steps + 1` times of a schedule, from 1 down to 0. A `shift` above 1 spends more steps near the noise:
/// `t` becomes `shift t / (1 + (shift - 1) t)`.
pub fn schedule(steps: usize, shift: f64) -> Vec<f64> {
    (0..=steps)
        .rev()
        .map(|i| i as f64 / steps as f64)
        .map(|t| shift * t / (1.0 + (shift - 1.0) * t))
        .collect()
}

/// The progress that a sampler reports after each step.
#[derive(Debug)]
pub struct Step<'a> {
    /// Number of steps done, from 1.
    pub step: usize,
    /// Total number of steps.
    pub steps: usize,
    /// Current estimate of the result, one latent per output frame.
    pub estimate: &'a [Tensor<4>],
}

/// Integrates `velocity` over `times`, starting from the noise `x`.
///
/// Heun's method corrects each Euler step with the velocity at its end. The last step, which ends at time 0, has
/// nothing left to correct and stays an Euler step.
///
/// # Errors
/// [`Error::Aborted`] when `on_step` returns [`ControlFlow::Break`], and the errors of `velocity` and `on_step`.
pub async fn sample(
    method: Method,
    times: &[f64],
    x: Vec<Tensor<4>>,
    velocity: impl AsyncFn(&[Tensor<4>], f64) -> Result<Vec<Tensor<4>>>,
    mut on_step: impl AsyncFnMut(Step<'_>) -> Result<ControlFlow<()>>,
) -> Result<Vec<Tensor<4>>> {
    let mut x = x;
    let steps = times.len() - 1;
    for (i, pair) in times.windows(2).enumerate() {
        let (t, next) = (pair[0], pair[1]);
        let mut v = velocity(&x, t).await?;
        let estimate = advance(&x, &v, -t);
        if method == Method::Heun && next > 0.0 {
            let end = velocity(&advance(&x, &v, next - t), next).await?;
            v = v
                .into_iter()
                .zip(end)
                .map(|(start, end)| (start + end) * 0.5)
                .collect();
        }
        x = advance(&x, &v, next - t);
        let step = Step {
            step: i + 1,
            steps,
            estimate: &estimate,
        };
        if on_step(step).await?.is_break() {
            return Err(Error::Aborted);
        }
    }
    Ok(x)
}

/// Returns `x + dt v` for each frame.
pub fn advance(x: &[Tensor<4>], v: &[Tensor<4>], dt: f64) -> Vec<Tensor<4>> {
    x.iter()
        .zip(v)
        .map(|(x, v)| x.clone() + v.clone() * dt)
        .collect()
}

/// The conditioning of one prediction in two-scale classifier-free guidance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// Images and text.
    Full,
    /// Images without text.
    Images,
    /// Neither images nor text.
    Nothing,
}

/// Returns the branches that classifier-free guidance needs, with their weights:
/// `v = v(0,0) + image (v(I,0) - v(0,0)) + text (v(I,T) - v(I,0))` (InstructPix2Pix, equation 3). Branches of weight 0 are
/// omitted, so no guidance costs one evaluation.
pub fn guidance(text: f64, image: f64, has_images: bool) -> Vec<(Branch, f64)> {
    let weights = if has_images {
        vec![
            (Branch::Full, text),
            (Branch::Images, image - text),
            (Branch::Nothing, 1.0 - image),
        ]
    } else {
        vec![(Branch::Full, text), (Branch::Nothing, 1.0 - text)]
    };
    weights
        .into_iter()
        .filter(|(_, weight)| *weight != 0.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// For `dx/dt = x` the exact factor from 1 to 0 is 1/e; Euler's error is O(1/n), Heun's O(1/n^2).
    #[test]
    fn heun_is_of_second_order_and_euler_of_first() {
        let device = Device::flex();
        let error = |method, steps| {
            let x = vec![Tensor::ones([1, 1, 1, 1], &device)];
            let field = async |x: &[Tensor<4>], _| Ok(x.to_vec());
            let end = pollster::block_on(sample(
                method,
                &schedule(steps, 1.0),
                x,
                field,
                async |_| Ok(ControlFlow::Continue(())),
            ))
            .unwrap();
            let value = end[0].clone().into_scalar::<f32>();
            (f64::from(value) - (-1f64).exp()).abs()
        };
        let halved = |method| error(method, 20) / error(method, 40);
        assert!((1.8..2.2).contains(&halved(Method::Euler)));
        assert!(error(Method::Heun, 20) < error(Method::Euler, 20) / 10.0);
    }

    #[test]
    fn breaking_stops_with_abort() {
        let x = vec![Tensor::ones([1, 1, 1, 1], &Device::flex())];
        let mut seen = 0;
        let result = pollster::block_on(sample(
            Method::Euler,
            &schedule(10, 1.0),
            x,
            async |x: &[Tensor<4>], _| Ok(x.to_vec()),
            async |step| {
                seen = step.step;
                Ok(if step.step == 3 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            },
        ));
        assert!(matches!(result, Err(Error::Aborted)));
        assert_eq!(seen, 3);
    }

    #[test]
    fn guidance_weights_sum_to_one_and_skip_what_is_not_needed() {
        assert_eq!(guidance(1.0, 1.0, true), [(Branch::Full, 1.0)]);
        assert_eq!(guidance(1.0, 1.0, false), [(Branch::Full, 1.0)]);
        assert_eq!(guidance(3.0, 1.0, true).len(), 2);
        let sum: f64 = guidance(3.0, 1.5, true).iter().map(|(_, w)| w).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}
