//! Interim references; replaced by the kernels.
#![allow(missing_docs)]
use burn::tensor::{Tensor, activation::softmax, module, ops::ConvOptions};

pub fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [b, n, k] = x.dims();
    let [o, _] = weight.dims();
    let y = x.reshape([b * n, k]).matmul(weight.transpose());
    let y = match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    };
    y.reshape([b, n, o])
}

pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Option<Tensor<3>>) -> Tensor<4> {
    let scale = 1.0 / (q.dims()[3] as f64).sqrt();
    let scores = q.mul_scalar(scale).matmul(k.swap_dims(2, 3));
    let scores = match mask {
        Some(mask) => scores + mask.unsqueeze_dim::<4>(1),
        None => scores,
    };
    softmax(scores, 3).matmul(v)
}

pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: [usize; 4],
) -> Tensor<4> {
    let [top, left, bottom, right] = padding;
    let (x, symmetric) = if top == bottom && left == right {
        (x, [top, left])
    } else {
        (x.pad((left, right, top, bottom), 0.0), [0, 0])
    };
    module::conv2d(
        x,
        weight,
        bias,
        ConvOptions::new([stride, stride], symmetric, [1, 1], 1),
    )
}
pub fn quant_linear(
    x: Tensor<3>,
    packed: Tensor<2, burn::tensor::Int>,
    scales: Tensor<2, burn::tensor::Int>,
    encoding: crate::weights::quant::Encoding,
    bias: Option<Tensor<1>>,
) -> Tensor<3> {
    let _ = (packed, scales, encoding);
    linear(
        x,
        Tensor::zeros([1, 1], &bias.clone().unwrap().device()),
        bias,
    )
}

pub mod device {
    use crate::error::{Error, Result};
    #[derive(Clone, Copy, Debug)]
    pub enum Choice {
        Auto,
        WebGpu,
        Cpu,
    }
    impl std::str::FromStr for Choice {
        type Err = Error;
        fn from_str(s: &str) -> Result<Self> {
            match s {
                "auto" => Ok(Choice::Auto),
                "webgpu" => Ok(Choice::WebGpu),
                "cpu" => Ok(Choice::Cpu),
                _ => Err(Error::Request(format!("unknown device {s:?}"))),
            }
        }
    }
    pub struct Opened {
        pub device: burn::tensor::Device,
        pub kind: &'static str,
        pub adapter: String,
        pub note: Option<String>,
    }
    pub async fn open(_: Choice) -> Result<Opened> {
        Ok(Opened {
            device: burn::tensor::Device::flex(),
            kind: "cpu",
            adapter: String::new(),
            note: None,
        })
    }
}
