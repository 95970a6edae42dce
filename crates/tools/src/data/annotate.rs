//! Annotations of clips. Each source of annotations implements [`Annotator`] and writes them into the [`Clip`].

pub mod chat;
pub mod files;
pub mod grounded;
pub mod maps;
pub mod moving;
mod npy;
pub mod object_masks;

use super::clip::Clip;
use super::fit::Fit;
use super::kinds::Counts;
use unireal::Result;

/// A clip with the data needed to find its annotations.
pub struct Shot<'a> {
    /// The frames and their annotations so far.
    pub clip: Clip,
    /// The video's file stem, by which annotation files are found.
    pub video: &'a str,
    /// How the video's frames were scaled and cropped to the clip's.
    pub fit: Fit,
}

/// A source of annotations.
pub trait Annotator: Sync {
    /// Returns the name for reports.
    fn name(&self) -> &'static str;

    /// Adds annotations to the clip, and to `counts` what it drops.
    ///
    /// # Errors
    /// Any failure. A network error fails the item; after any other the clip continues without the annotations, and the
    /// report counts it.
    fn annotate(&self, shot: &mut Shot<'_>, counts: &mut Counts) -> Result<()>;
}
