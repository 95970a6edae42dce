//! What lies on the table: plain data that the physics moves, the renderer draws, and words describe.
//!
//! Lengths are in table units: a large sphere has a radius of about a half, the camera stands about eight away. x points to
//! the right, y up, z towards the camera; the table's surface is y = 0.

use serde::{Deserialize, Serialize};

/// Most solids in a scene.
pub const MAX_SOLIDS: usize = 6;

/// An enumeration whose values have names that people use.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$value_doc])* $value,)* }

        impl $name {
            /// All values.
            pub const ALL: &[$name] = &[$($name::$value),*];

            /// The usual word.
            pub fn name(self) -> &'static str {
                match self { $($name::$value => $text),* }
            }
        }
    };
}
pub(crate) use named;

named! {
    /// The six shapes. Upright they stand on the table as named; a capsule lies on its side.
    Shape {
        /// A ball.
        Sphere = "sphere",
        /// A cube.
        Cube = "cube",
        /// A cylinder that stands on its end.
        Cylinder = "cylinder",
        /// A cone, apex up.
        Cone = "cone",
        /// A ring that lies flat.
        Torus = "torus",
        /// A cylinder with round ends, lying along x.
        Capsule = "capsule",
    }
}

named! {
    /// Ten named colours.
    Colour {
        /// Red.
        Red = "red",
        /// Orange.
        Orange = "orange",
        /// Yellow.
        Yellow = "yellow",
        /// Green.
        Green = "green",
        /// Cyan.
        Cyan = "cyan",
        /// Blue.
        Blue = "blue",
        /// Purple.
        Purple = "purple",
        /// Pink.
        Pink = "pink",
        /// White.
        White = "white",
        /// Black.
        Black = "black",
    }
}

named! {
    /// How a solid's surface takes light.
    Material {
        /// Diffuse only.
        Matte = "matte",
        /// Diffuse under a clear coat that reflects by Fresnel's law.
        Glossy = "glossy",
        /// A metal mirror, tinted by its colour.
        Mirror = "mirror",
    }
}

named! {
    /// How large a solid is.
    Size {
        /// Three fifths of a large one.
        Small = "small",
        /// The usual size.
        Large = "large",
    }
}

named! {
    /// What the table is made of.
    Ground {
        /// Matte, of one tone.
        Cloth = "cloth",
        /// Two tones in squares, slightly glossy.
        Tiles = "tiles",
        /// Planks along x, matte.
        Wood = "wood",
        /// Of one tone and polished: it reflects what stands on it.
        Glass = "glass",
    }
}

named! {
    /// The tone of ground or backdrop.
    Tone {
        /// Light grey.
        Light = "light",
        /// Middle grey.
        Grey = "grey",
        /// Dark grey.
        Dark = "dark",
        /// Brown.
        Brown = "brown",
        /// Dull green.
        Olive = "olive",
        /// Dull blue.
        Slate = "slate",
    }
}

named! {
    /// What stands behind the table.
    Backdrop {
        /// A wall of one tone.
        Wall = "wall",
        /// Vertical stripes of two tones.
        Stripes = "stripes",
        /// Open sky that lightens towards the horizon.
        Sky = "sky",
    }
}

/// Where a solid is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pose {
    /// The centre of the solid's bounding box in its own frame.
    pub position: [f32; 3],
    /// Unit quaternion x, y, z, w; the solid's own axis is y.
    pub rotation: [f32; 4],
}

/// One solid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Solid {
    /// Its shape.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// Its surface.
    pub material: Material,
    /// Its size.
    pub size: Size,
    /// Multiplies the colour's albedo a little, so that no two reds are the same.
    pub tint: [f32; 3],
    /// Where it is.
    pub pose: Pose,
}

/// The key light: a lamp of finite width, far away, with a sky around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Light {
    /// Angle about y, 0 from the camera, positive from the right, in radians.
    pub azimuth: f32,
    /// Angle above the table, in radians.
    pub elevation: f32,
    /// Strength, 1 is usual.
    pub strength: f32,
}

/// The camera looks at a point a little above the middle of the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// Angle about y, 0 in front, in radians.
    pub azimuth: f32,
    /// Angle above the table, in radians.
    pub elevation: f32,
    /// Distance from the point that it looks at.
    pub distance: f32,
}

/// A table and what lies on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// The solids, at most [`MAX_SOLIDS`].
    pub solids: Vec<Solid>,
    /// What the table is made of.
    pub ground: Ground,
    /// The table's tone.
    pub ground_tone: Tone,
    /// What stands behind it.
    pub backdrop: Backdrop,
    /// The backdrop's tone.
    pub backdrop_tone: Tone,
    /// The light.
    pub light: Light,
    /// The camera.
    pub camera: Camera,
}

/// A solid's measures in its own frame, about its centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Primitive {
    /// Radius.
    Sphere(f32),
    /// Half a side.
    Cube(f32),
    /// Radius and half the height.
    Cylinder(f32, f32),
    /// Radius of the base and half the height; the apex is up.
    Cone(f32, f32),
    /// Radius of the ring's middle line, and of its tube.
    Torus(f32, f32),
    /// Radius, and half the length of the straight part.
    Capsule(f32, f32),
}

impl Size {
    /// Radius of a sphere of this size.
    pub fn scale(self) -> f32 {
        match self {
            Size::Small => 0.30,
            Size::Large => 0.50,
        }
    }
}

impl Colour {
    /// Linear albedo of a matte surface.
    pub fn albedo(self) -> [f32; 3] {
        match self {
            Colour::Red => [0.62, 0.03, 0.03],
            Colour::Orange => [0.80, 0.24, 0.02],
            Colour::Yellow => [0.78, 0.60, 0.03],
            Colour::Green => [0.05, 0.36, 0.07],
            Colour::Cyan => [0.04, 0.55, 0.60],
            Colour::Blue => [0.04, 0.10, 0.60],
            Colour::Purple => [0.28, 0.05, 0.45],
            Colour::Pink => [0.80, 0.28, 0.42],
            Colour::White => [0.80, 0.80, 0.80],
            Colour::Black => [0.025, 0.025, 0.025],
        }
    }
}

impl Tone {
    /// Linear albedo.
    pub fn albedo(self) -> [f32; 3] {
        match self {
            Tone::Light => [0.62, 0.60, 0.56],
            Tone::Grey => [0.30, 0.30, 0.31],
            Tone::Dark => [0.075, 0.08, 0.09],
            Tone::Brown => [0.33, 0.17, 0.08],
            Tone::Olive => [0.17, 0.22, 0.10],
            Tone::Slate => [0.12, 0.19, 0.29],
        }
    }
}

impl Solid {
    /// Its measures.
    pub fn primitive(&self) -> Primitive {
        self.shape.primitive(self.size)
    }
}

impl Shape {
    /// The measures of a solid of this shape and size.
    pub fn primitive(self, size: Size) -> Primitive {
        let s = size.scale();
        match self {
            Shape::Sphere => Primitive::Sphere(s),
            Shape::Cube => Primitive::Cube(0.80 * s),
            Shape::Cylinder => Primitive::Cylinder(0.72 * s, 0.90 * s),
            Shape::Cone => Primitive::Cone(0.90 * s, s),
            Shape::Torus => Primitive::Torus(0.72 * s, 0.30 * s),
            Shape::Capsule => Primitive::Capsule(0.52 * s, 0.62 * s),
        }
    }
}
