//! What stands on the table: solids on a grid of three by three places, a ground and a light, drawn from a random
//! generator. The grid gives every position a name, so that an instruction can say exactly where something goes.

use rand::{Rng, RngExt};

use super::render::Camera;

/// Most solids of a scene.
pub const MAX_SOLIDS: usize = 4;

/// The form of a solid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A ball.
    Sphere,
    /// A box with equal sides, turned about the vertical.
    Cube,
    /// An upright tube with a flat top.
    Cylinder,
    /// An upright cone.
    Cone,
}

impl Shape {
    /// All shapes.
    pub const ALL: [Shape; 4] = [Shape::Sphere, Shape::Cube, Shape::Cylinder, Shape::Cone];

    /// Nouns for it in English, the usual one first.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Shape::Sphere => &["sphere", "ball"],
            Shape::Cube => &["cube", "box", "block"],
            Shape::Cylinder => &["cylinder", "tube"],
            Shape::Cone => &["cone"],
        }
    }
}

/// The colour of a solid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Colour {
    /// Red, away from orange by its lack of green.
    Red,
    /// Green.
    Green,
    /// Blue.
    Blue,
    /// Yellow.
    Yellow,
    /// Purple, between red and blue.
    Purple,
    /// Orange, between red and yellow.
    Orange,
    /// Cyan, between green and blue.
    Cyan,
    /// White, as the light shows it.
    White,
}

impl Colour {
    /// All colours.
    pub const ALL: [Colour; 8] = [
        Colour::Red,
        Colour::Green,
        Colour::Blue,
        Colour::Yellow,
        Colour::Purple,
        Colour::Orange,
        Colour::Cyan,
        Colour::White,
    ];

    /// The adjective.
    pub fn word(self) -> &'static str {
        match self {
            Colour::Red => "red",
            Colour::Green => "green",
            Colour::Blue => "blue",
            Colour::Yellow => "yellow",
            Colour::Purple => "purple",
            Colour::Orange => "orange",
            Colour::Cyan => "cyan",
            Colour::White => "white",
        }
    }

    /// Linear RGB reflectance, chosen so that lit and shaded sides of two colours stay apart.
    pub fn albedo(self) -> [f32; 3] {
        match self {
            Colour::Red => [0.70, 0.03, 0.03],
            Colour::Green => [0.05, 0.42, 0.07],
            Colour::Blue => [0.03, 0.10, 0.68],
            Colour::Yellow => [0.86, 0.66, 0.03],
            Colour::Purple => [0.33, 0.06, 0.52],
            Colour::Orange => [0.88, 0.27, 0.02],
            Colour::Cyan => [0.05, 0.60, 0.66],
            Colour::White => [0.86, 0.86, 0.86],
        }
    }
}

/// How big a solid is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    /// About a sixth of the picture wide in the middle of the table.
    Small,
    /// About a quarter of the picture wide there.
    Large,
}

impl Size {
    /// Both sizes.
    pub const ALL: [Size; 2] = [Size::Small, Size::Large];

    /// Adjectives for it, the usual one first.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Size::Small => &["small"],
            Size::Large => &["large", "big"],
        }
    }

    /// Radius of a sphere of this size, in table units; the other shapes are scaled to look equally big.
    pub fn radius(self) -> f32 {
        match self {
            Size::Small => 0.33,
            Size::Large => 0.48,
        }
    }
}

/// A place of the grid as the camera sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// 0 left, 1 middle, 2 right.
    pub column: u8,
    /// 0 back, 1 middle, 2 front.
    pub row: u8,
}

impl Cell {
    /// All nine places, from back left.
    pub fn all() -> impl Iterator<Item = Cell> {
        (0..9).map(|i| Cell {
            column: i % 3,
            row: i / 3,
        })
    }

    /// Its centre on the table: x to the right, z towards the camera. Rows lie further apart than columns because the
    /// camera sees them foreshortened and a solid must not hide the one behind it.
    pub fn centre(self) -> [f32; 2] {
        const COLUMNS: [f32; 3] = [-1.1, 0.0, 1.1];
        const ROWS: [f32; 3] = [-1.55, 0.0, 1.4];
        [
            COLUMNS[usize::from(self.column)],
            ROWS[usize::from(self.row)],
        ]
    }
}

/// One solid.
#[derive(Clone, Debug, PartialEq)]
pub struct Solid {
    /// Its form.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// Its size.
    pub size: Size,
    /// Its place.
    pub cell: Cell,
    /// How far it stands from the place's centre, x and z. It keeps this when it moves, so that a move is exact.
    pub offset: [f32; 2],
    /// Turn about the vertical, radians.
    pub yaw: f32,
    /// Factors on the colour's reflectance, near 1.
    pub tint: [f32; 3],
}

impl Solid {
    /// Where it stands: x and z.
    pub fn position(&self) -> [f32; 2] {
        let [x, z] = self.cell.centre();
        [x + self.offset[0], z + self.offset[1]]
    }

    /// Radius (half a side for a cube) and height.
    pub fn extent(&self) -> (f32, f32) {
        let r = self.size.radius();
        match self.shape {
            Shape::Sphere => (r, 2.0 * r),
            Shape::Cube => (0.8 * r, 1.6 * r),
            Shape::Cylinder => (0.82 * r, 1.75 * r),
            Shape::Cone => (1.02 * r, 2.0 * r),
        }
    }

    /// Radius of the circle about what touches or overhangs the table.
    pub fn footprint(&self) -> f32 {
        let (r, _) = self.extent();
        match self.shape {
            Shape::Cube => r * std::f32::consts::SQRT_2,
            _ => r,
        }
    }

    /// Whether both would get the same full description.
    pub fn looks_like(&self, other: &Solid) -> bool {
        (self.shape, self.colour, self.size) == (other.shape, other.colour, other.size)
    }

    /// A random solid at `cell`.
    pub fn draw(cell: Cell, rng: &mut impl Rng) -> Solid {
        Solid {
            shape: pick(&Shape::ALL, rng),
            colour: pick(&Colour::ALL, rng),
            size: pick(&Size::ALL, rng),
            cell,
            offset: [rng.random_range(-0.1..0.1), rng.random_range(-0.1..0.1)],
            yaw: rng.random_range(0.0..std::f32::consts::FRAC_PI_2),
            tint: std::array::from_fn(|_| rng.random_range(0.95..1.05)),
        }
    }
}

/// The table's tone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Middle grey.
    Grey,
    /// Brown, as wood.
    Brown,
    /// Nearly black.
    Dark,
    /// Nearly white.
    Light,
}

impl Tone {
    /// All tones.
    pub const ALL: [Tone; 4] = [Tone::Grey, Tone::Brown, Tone::Dark, Tone::Light];

    /// The adjective.
    pub fn word(self) -> &'static str {
        match self {
            Tone::Grey => "grey",
            Tone::Brown => "brown",
            Tone::Dark => "dark",
            Tone::Light => "light",
        }
    }

    /// Linear RGB reflectance: unsaturated, so that no solid's colour is lost on it.
    pub fn albedo(self) -> [f32; 3] {
        match self {
            Tone::Grey => [0.30, 0.31, 0.33],
            Tone::Brown => [0.31, 0.215, 0.14],
            Tone::Dark => [0.085, 0.09, 0.105],
            Tone::Light => [0.50, 0.48, 0.44],
        }
    }
}

/// The table.
#[derive(Clone, Debug, PartialEq)]
pub struct Ground {
    /// Its tone.
    pub tone: Tone,
    /// Factors on the tone's reflectance, near 1.
    pub tint: [f32; 3],
    /// How much the two fields of the checker differ, as a share of the reflectance; 0 is plain.
    pub checker: f32,
}

/// The one lamp, far away.
#[derive(Clone, Debug, PartialEq)]
pub struct Light {
    /// Direction as seen from above, radians: 0 is from the camera's side, positive from the right.
    pub azimuth: f32,
    /// Height above the table, radians.
    pub elevation: f32,
}

/// A whole scene. The order of the solids means nothing but is kept by edits.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// What stands on the table, at most [`MAX_SOLIDS`].
    pub solids: Vec<Solid>,
    /// The table.
    pub ground: Ground,
    /// The lamp.
    pub light: Light,
}

impl Scene {
    /// A random scene of `count` solids (at most [`MAX_SOLIDS`]) that [`is_clear`](Scene::is_clear).
    pub fn draw(count: usize, rng: &mut impl Rng) -> Scene {
        loop {
            let mut cells: Vec<Cell> = Cell::all().collect();
            let solids = (0..count.min(MAX_SOLIDS))
                .map(|_| {
                    let cell = cells.swap_remove(rng.random_range(0..cells.len()));
                    Solid::draw(cell, rng)
                })
                .collect();
            let scene = Scene {
                solids,
                ground: Ground {
                    tone: pick(&Tone::ALL, rng),
                    tint: std::array::from_fn(|_| rng.random_range(0.96..1.04)),
                    checker: if rng.random_bool(0.5) { 0.16 } else { 0.0 },
                },
                light: Light {
                    azimuth: rng.random_range(0.45..1.25) * if rng.random() { 1.0 } else { -1.0 },
                    elevation: rng.random_range(0.8..1.05),
                },
            };
            if scene.is_clear() {
                return scene;
            }
        }
    }

    /// Whether all solids differ in shape, colour or size, stand inside the frame, and are apart on the table and in
    /// the picture, by a 64th of its side.
    pub fn is_clear(&self) -> bool {
        const GAP: f32 = 1.0 / 64.0;
        let boxes: Vec<_> = self.solids.iter().map(Camera::outline).collect();
        let inside = boxes
            .iter()
            .all(|b| b.iter().all(|edge| (GAP..=1.0 - GAP).contains(edge)));
        inside
            && pairs(self.solids.len()).all(|(i, j)| {
                let (a, b) = (&self.solids[i], &self.solids[j]);
                let ([ax, az], [bx, bz]) = (a.position(), b.position());
                let (one, other) = (boxes[i], boxes[j]);
                !a.looks_like(b)
                    && (ax - bx).hypot(az - bz) > a.footprint() + b.footprint()
                    && (one[2] + GAP < other[0]
                        || other[2] + GAP < one[0]
                        || one[3] + GAP < other[1]
                        || other[3] + GAP < one[1])
            })
    }

    /// The places where nothing stands.
    pub fn free(&self) -> Vec<Cell> {
        Cell::all()
            .filter(|&cell| self.solids.iter().all(|solid| solid.cell != cell))
            .collect()
    }
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (0..i).map(move |j| (i, j)))
}

/// One of `choices`, which is not empty.
pub(super) fn pick<T: Copy>(choices: &[T], rng: &mut impl Rng) -> T {
    choices[rng.random_range(0..choices.len())]
}
