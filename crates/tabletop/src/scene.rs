//! The scene description: plain data that the physics moves, the renderer draws and the texts describe.
//!
//! Lengths are in table units: a large sphere has a radius of 0.5, and the camera is about 8 away. x points to the right, y
//! up, z towards the camera; the table's surface is y = 0.

use serde::{Deserialize, Serialize};

/// Maximum number of objects in a scene.
pub const MAX_SOLIDS: usize = 6;

/// Declares an enum with a name for each value.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$value_doc])* $value,)* }

        impl $name {
            /// All values.
            pub const ALL: &[$name] = &[$($name::$value),*];

            /// Returns the name.
            pub fn name(self) -> &'static str {
                match self { $($name::$value => $text),* }
            }
        }
    };
}
pub(crate) use named;

named! {
    /// The six shapes of objects. At rest they stand upright on the table; a capsule lies on its side.
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
    /// The ten colours of objects.
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
    /// The surface material of an object.
    Material {
        /// Diffuse only.
        Matte = "matte",
        /// Diffuse under a clear coat with Fresnel reflection.
        Glossy = "glossy",
        /// A metal mirror, tinted by its colour.
        Mirror = "mirror",
    }
}

named! {
    /// The size of an object.
    Size {
        /// 0.6 times the large size.
        Small = "small",
        /// The default size.
        Large = "large",
    }
}

named! {
    /// The material of the table.
    Ground {
        /// Matte, in one tone.
        Cloth = "cloth",
        /// Squares in two tones, slightly glossy.
        Tiles = "tiles",
        /// Planks along x, matte.
        Wood = "wood",
        /// Polished, in one tone: it reflects the objects on it.
        Glass = "glass",
    }
}

named! {
    /// The tone of the table or the backdrop.
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
    /// The background behind the table.
    Backdrop {
        /// A wall in one tone.
        Wall = "wall",
        /// Vertical stripes in two tones.
        Stripes = "stripes",
        /// Open sky that lightens towards the horizon.
        Sky = "sky",
    }
}

/// The position and rotation of an object.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pose {
    /// Centre of the bounding box that is aligned with the object's own axes.
    pub position: [f32; 3],
    /// Unit quaternion x, y, z, w; the object's own axis is y.
    pub rotation: [f32; 4],
}

/// An object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Solid {
    /// Its shape.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// Its material.
    pub material: Material,
    /// Its size.
    pub size: Size,
    /// Factors near 1 on the colour's albedo, so that no two reds are the same.
    pub tint: [f32; 3],
    /// Its position and rotation.
    pub pose: Pose,
}

/// The key light: a distant lamp of finite width, surrounded by the sky.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Light {
    /// Angle about y, 0 from the front, positive from the right, in radians.
    pub azimuth: f32,
    /// Angle above the table, in radians.
    pub elevation: f32,
    /// Strength, typically 1.
    pub strength: f32,
}

/// The camera, which looks at a point a little above the middle of the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// Angle about y, 0 in front, in radians.
    pub azimuth: f32,
    /// Angle above the table, in radians.
    pub elevation: f32,
    /// Distance from the point that it looks at.
    pub distance: f32,
}

/// A table with objects, a backdrop, a light and a camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// The objects, at most [`MAX_SOLIDS`].
    pub solids: Vec<Solid>,
    /// The material of the table.
    pub ground: Ground,
    /// The table's tone.
    pub ground_tone: Tone,
    /// The background behind it.
    pub backdrop: Backdrop,
    /// The backdrop's tone.
    pub backdrop_tone: Tone,
    /// The light.
    pub light: Light,
    /// The camera.
    pub camera: Camera,
}

/// A geometric primitive with its dimensions, centred in its own frame.
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
    /// Radius of the ring's centre line, and of its tube.
    Torus(f32, f32),
    /// Radius, and half the length of the straight part.
    Capsule(f32, f32),
}

impl Size {
    /// Returns the radius of a sphere of this size.
    pub fn scale(self) -> f32 {
        match self {
            Size::Small => 0.30,
            Size::Large => 0.50,
        }
    }
}

impl Colour {
    /// Returns the linear albedo of a matte surface.
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
    /// Returns the linear albedo.
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
    /// Returns the geometric primitive of the object.
    pub fn primitive(&self) -> Primitive {
        self.shape.primitive(self.size)
    }
}

impl Shape {
    /// Returns the geometric primitive of this shape and size.
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
