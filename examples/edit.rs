//! Edits an image: `cargo run --release --example edit -- PACK INPUT PROMPT OUTPUT`, for example
//! `... -- www/models/tabletop www/examples/tabletop-9.png "remove the cyan sphere" edited.png`.

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::ops::ControlFlow;

    use unireal::{Device, Error, Event, Image, Pipeline, Request};

    pub(super) fn main() -> unireal::Result<()> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [pack, input, prompt, output] = &arguments[..] else {
            return Err(Error::Request(format!(
                "{} arguments, expected 4: PACK INPUT PROMPT OUTPUT",
                arguments.len()
            )));
        };
        pollster::block_on(edit(pack, input, prompt, output))
    }

    async fn edit(pack: &str, input: &str, prompt: &str, output: &str) -> unireal::Result<()> {
        let pipeline = Pipeline::from_dir(pack).device(Device::Auto).load().await?;
        println!("{} {}", pipeline.device_kind(), pipeline.adapter());
        let request = Request::builder(prompt)
            .canvas(Image::open(input)?)
            .build()?;
        let images = pipeline
            .generate_with(&request, async |event| {
                if let Event::Step { step, steps, .. } = event {
                    println!("step {step} of {steps}");
                }
                ControlFlow::Continue(())
            })
            .await?;
        images[0].save(output)
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn main() -> unireal::Result<()> {
    native::main()
}

// A wasm test run builds examples too.
#[cfg(target_arch = "wasm32")]
fn main() {}
