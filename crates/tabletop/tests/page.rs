//! Tests of the page module: clips as in the native build, scenes with instructions and ground truth, invalid arguments.

use unireal_tabletop::film;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

/// FNV-1a hash.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The simulation gives the same numbers in wasm and natively.
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn films_are_the_same_everywhere() {
    let films: Vec<_> = (0..4).map(|seed| film(seed, 17, 8.0)).collect();
    let found = hash(&serde_json::to_vec(&films).expect("scenes are plain data"));
    assert_eq!(found, 0x31a19a05e16c275f, "found {found:#x}");
}

#[cfg(target_arch = "wasm32")]
mod page {
    use unireal_tabletop::page::Tabletop;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test]
    fn a_scene_has_instructions_and_ground_truth() {
        let scene = Tabletop::new(3, 32).expect("a scene");
        let before = scene.before();
        assert_eq!(before.len(), 4 * 32 * 32);
        let instructions = scene.instructions();
        assert!(!instructions.is_empty());
        for (i, instruction) in instructions.iter().enumerate() {
            let after = scene.after(i).expect("a rendered image");
            assert_eq!(after.len(), before.len());
            assert_ne!(after, before, "{instruction}");
        }
        assert!(scene.after(instructions.len()).is_err());
    }

    #[wasm_bindgen_test]
    fn sides_out_of_range_are_refused() {
        assert!(Tabletop::new(0, 0).is_err());
        assert!(Tabletop::new(0, 513).is_err());
    }
}
