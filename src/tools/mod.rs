//! Native tools.
pub mod train;
pub mod world;
