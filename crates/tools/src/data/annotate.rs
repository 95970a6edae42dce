//! What is known about a clip beside its pixels. Each tool that knows something is an [`Annotator`]; what they say meets in
//! the [`Clip`].

pub mod chat;
pub mod files;
pub mod maps;
pub mod moving;

use super::clip::Clip;
use super::fit::Fit;
use super::kinds::Counts;
use unireal::Result;

/// A clip with what is needed to find its annotations.
pub struct Shot<'a> {
    /// The frames and what is known of them so far.
    pub clip: Clip,
    /// The video's file name without its ending: annotation files are found by it.
    pub video: &'a str,
    /// How the video's pixels became the clip's.
    pub fit: Fit,
}

/// Something that knows about clips.
pub trait Annotator: Sync {
    /// A name for reports.
    fn name(&self) -> &'static str;

    /// Adds what it knows; `counts` learns what it leaves out.
    ///
    /// # Errors
    /// Whatever keeps it from its work; the clip then goes on without it, and the report says so.
    fn annotate(&self, shot: &mut Shot<'_>, counts: &mut Counts) -> Result<()>;
}
