//! Nouns and adjectives for objects, tables and backdrops.

use rand::{Rng, RngExt};

use super::{Wording, with_article};
use crate::draw::pick;
use crate::scene::{Backdrop, Colour, Ground, Material, Shape, Size, Solid, Tone};

impl Shape {
    /// Returns nouns, the usual one first.
    pub fn nouns(self) -> &'static [&'static str] {
        match self {
            Shape::Sphere => &["ball", "sphere"],
            Shape::Cube => &["cube", "block", "box"],
            Shape::Cylinder => &["cylinder", "tube"],
            Shape::Cone => &["cone"],
            Shape::Torus => &["ring", "donut", "torus"],
            Shape::Capsule => &["capsule", "pill"],
        }
    }
}

/// Nouns for an object of any shape.
pub(crate) const ANY: [&str; 3] = ["object", "solid", "thing"];

impl Colour {
    /// Returns adjectives, the usual one first.
    pub fn adjectives(self) -> &'static [&'static str] {
        match self {
            Colour::Red => &["red"],
            Colour::Orange => &["orange"],
            Colour::Yellow => &["yellow"],
            Colour::Green => &["green"],
            Colour::Cyan => &["cyan", "cyan", "turquoise"],
            Colour::Blue => &["blue"],
            Colour::Purple => &["purple", "purple", "violet"],
            Colour::Pink => &["pink"],
            Colour::White => &["white"],
            Colour::Black => &["black"],
        }
    }
}

impl Size {
    /// Returns adjectives, the usual one first.
    pub fn adjectives(self) -> &'static [&'static str] {
        match self {
            Size::Small => &["small", "small", "little", "tiny"],
            Size::Large => &["large", "large", "big"],
        }
    }
}

impl Material {
    /// Returns adjectives, the usual one first.
    pub fn adjectives(self) -> &'static [&'static str] {
        match self {
            Material::Matte => &["matte", "matte", "matt", "dull"],
            Material::Glossy => &["glossy", "glossy", "shiny", "polished"],
            Material::Mirror => &["metallic", "metal", "mirror"],
        }
    }

    /// Returns adjectives for "make it {}".
    pub(crate) fn states(self) -> &'static [&'static str] {
        match self {
            Material::Matte => &["matte", "matt", "dull"],
            Material::Glossy => &["glossy", "shiny", "polished"],
            Material::Mirror => &["metallic", "mirror-like"],
        }
    }
}

impl Tone {
    /// Returns adjectives, the usual one first.
    pub fn adjectives(self) -> &'static [&'static str] {
        match self {
            Tone::Light => &["light grey", "light"],
            Tone::Grey => &["grey"],
            Tone::Dark => &["dark", "dark grey"],
            Tone::Brown => &["brown"],
            Tone::Olive => &["olive", "olive green"],
            Tone::Slate => &["slate", "slate blue"],
        }
    }
}

impl Ground {
    /// Returns adjectives for a table of this material, the usual one first.
    pub fn adjectives(self) -> &'static [&'static str] {
        match self {
            Ground::Cloth => &["cloth", "plain"],
            Ground::Tiles => &["tiled", "checkered"],
            Ground::Wood => &["wooden", "wood"],
            Ground::Glass => &["glass"],
        }
    }
}

impl Backdrop {
    /// Returns phrases for "in front of {}", with the tone as `{t}`.
    pub(crate) fn phrases(self) -> &'static [&'static str] {
        match self {
            Backdrop::Wall => &["a {t} wall"],
            Backdrop::Stripes => &["a striped {t} wall", "{t} stripes"],
            Backdrop::Sky => &["the sky", "an open sky"],
        }
    }
}

/// A description of an object by some of its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Description {
    /// The size, if named.
    pub size: Option<Size>,
    /// The material, if named.
    pub material: Option<Material>,
    /// The colour, if named.
    pub colour: Option<Colour>,
    /// The shape, if named.
    pub shape: Option<Shape>,
}

impl Description {
    /// Returns the attributes of `solid` that `bits` selects: 1 shape, 2 colour, 4 size, 8 material.
    pub fn of(solid: &Solid, bits: u8) -> Description {
        Description {
            shape: (bits & 1 != 0).then_some(solid.shape),
            colour: (bits & 2 != 0).then_some(solid.colour),
            size: (bits & 4 != 0).then_some(solid.size),
            material: (bits & 8 != 0).then_some(solid.material),
        }
    }

    /// Returns whether it fits `solid`.
    pub fn fits(&self, solid: &Solid) -> bool {
        self.size.is_none_or(|size| size == solid.size)
            && self
                .material
                .is_none_or(|material| material == solid.material)
            && self.colour.is_none_or(|colour| colour == solid.colour)
            && self.shape.is_none_or(|shape| shape == solid.shape)
    }

    /// Returns the number of attributes that it names.
    pub fn length(&self) -> usize {
        usize::from(self.size.is_some())
            + usize::from(self.material.is_some())
            + usize::from(self.colour.is_some())
            + usize::from(self.shape.is_some())
    }

    fn adjectives(&self, rng: &mut impl Rng) -> Vec<String> {
        let size = self.size.map(|size| pick(size.adjectives(), rng));
        let material = self
            .material
            .map(|material| pick(material.adjectives(), rng));
        let colour = self.colour.map(|colour| pick(colour.adjectives(), rng));
        // The size comes first; material and colour come in either order.
        let rest = if rng.random_bool(0.8) {
            [material, colour]
        } else {
            [colour, material]
        };
        let all = size.into_iter().chain(rest.into_iter().flatten());
        all.map(String::from).collect()
    }

    /// Returns the text: "small red ball", sometimes "small ball in red". Held out: "ball that is small and red",
    /// "red-coloured ball", "red ball-shaped object".
    pub fn say(&self, wording: Wording, rng: &mut impl Rng) -> String {
        let noun = match self.shape {
            Some(shape) => pick(shape.nouns(), rng),
            None => pick(&ANY, rng),
        };
        let mut adjectives = self.adjectives(rng);
        let template = match wording {
            Wording::Training if rng.random_bool(0.1) => 5,
            Wording::Training => 6,
            Wording::HeldOut => rng.random_range(0..5),
        };
        match (template, self.shape, self.colour) {
            (0, _, _) if !adjectives.is_empty() => {
                format!("{noun} that is {}", adjectives.join(" and "))
            }
            (1, Some(shape), _) => {
                adjectives.push(format!("{}-shaped object", shape.nouns()[0]));
                adjectives.join(" ")
            }
            (2, _, Some(colour)) => {
                let name = take_one_of(colour.adjectives(), &mut adjectives);
                adjectives.extend(name.map(|name| format!("{name}-coloured")));
                adjectives.push(noun.into());
                adjectives.join(" ")
            }
            (5, Some(_), Some(colour)) => {
                let name = take_one_of(colour.adjectives(), &mut adjectives).unwrap_or_default();
                adjectives.push(format!("{noun} in {name}"));
                adjectives.join(" ")
            }
            _ => {
                adjectives.push(noun.into());
                adjectives.join(" ")
            }
        }
    }

    /// Returns the attributes as a predicate: "small and red".
    pub(crate) fn state(&self, rng: &mut impl Rng) -> String {
        self.adjectives(rng).join(" and ")
    }

    /// Returns the text in the plural: "small red balls".
    pub(crate) fn say_all(&self, rng: &mut impl Rng) -> String {
        let noun = match self.shape {
            Some(shape) => pick(shape.nouns(), rng),
            None => pick(&ANY, rng),
        };
        let plural = match noun {
            "box" => "boxes".to_string(),
            "torus" => "rings".to_string(),
            _ => format!("{noun}s"),
        };
        let mut phrase = self.adjectives(rng);
        phrase.push(plural);
        phrase.join(" ")
    }
}

/// Removes one of `names` from the adjectives and returns it.
fn take_one_of(names: &[&str], adjectives: &mut Vec<String>) -> Option<String> {
    let at = adjectives
        .iter()
        .position(|a| names.contains(&a.as_str()))?;
    Some(adjectives.remove(at))
}

/// Returns a description that introduces an object, such as "a small red ball": colour and shape, the size if small and
/// sometimes if large, the material if not matte and sometimes if matte.
pub fn indefinite(solid: &Solid, wording: Wording, rng: &mut impl Rng) -> String {
    let size = solid.size == Size::Small || rng.random_bool(0.4);
    let material = solid.material != Material::Matte || rng.random_bool(0.15);
    let bits = 3 | u8::from(size) << 2 | u8::from(material) << 3;
    with_article(&Description::of(solid, bits).say(wording, rng))
}

/// Describes the table, such as "a brown wooden table", with the tone, the material, both or none.
pub(crate) fn table(ground: Option<Ground>, tone: Option<Tone>, rng: &mut impl Rng) -> String {
    let mut phrase: Vec<&str> = Vec::new();
    phrase.extend(tone.map(|tone| pick(tone.adjectives(), rng)));
    phrase.extend(ground.map(|ground| pick(ground.adjectives(), rng)));
    phrase.push(pick(&["table", "table", "ground"], rng));
    with_article(&phrase.join(" "))
}
