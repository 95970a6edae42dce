//! Interim.
pub mod config;
pub mod error;
pub mod gpu;
pub mod image;
pub mod model;
pub mod noise;
pub mod pipeline;
pub mod request;
pub mod sampler;
pub mod tokenizer;
pub mod weights {
    pub mod module;
    pub mod quant {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Encoding {
            F32,
            F16,
            Q8,
            Q4,
        }
        impl Encoding {
            pub fn quantizes(self, input: usize) -> bool {
                matches!(self, Encoding::Q8 | Encoding::Q4) && input % 32 == 0
            }
            pub fn values_per_word(self) -> usize {
                match self {
                    Encoding::Q8 => 4,
                    _ => 8,
                }
            }
        }
    }
}
#[cfg(feature = "tools")]
pub mod tools;
