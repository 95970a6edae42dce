//! Moving-object segmentation of real videos; the annotator that needs no other tool.
//!
//! The background of a frame is the median of its neighbours after camera-motion compensation. A compact region that differs
//! from the background, or whose optical flow differs from the camera motion, over most of the clip is an object. Objects are
//! named by colour, size and side ([`describe::name`]); [`describe::instructions`] describes where they go.

use super::super::clip::{Clip, Entity};
use super::super::describe;
use super::super::kinds::Counts;
use super::super::mask::{self, grown};
use super::super::motion::{Camera, Flow, flow};
use super::super::plane::Plane;
use super::{Annotator, Shot};
use unireal::Image;
use unireal::Result;

/// An annotator that finds moving objects; see the [module](self).
#[derive(Clone, Debug)]
pub struct Moving {
    /// Smallest object, as a fraction of the image.
    pub min_object: f32,
    /// Largest object, as a fraction of the image.
    pub max_object: f32,
    /// Minimum fraction of the clip's frames in which an object must be visible.
    pub seen: f32,
}

impl Default for Moving {
    fn default() -> Self {
        Moving {
            min_object: 0.004,
            max_object: 0.4,
            seen: 0.6,
        }
    }
}

/// Neighbouring frames on each side, where they exist, whose median is the background.
const NEIGHBOURS: usize = 6;
/// Colour difference, per channel in 0..1, up to which a pixel counts as background.
const DIFFERENCE: f32 = 0.07;
/// Approximate number of pixels by which an object's optical flow extends beyond it.
const FLOW_WINDOW: usize = 4;
/// Minimum fraction of its bounding box that a region fills; sparser regions are pieces of edges.
const COMPACT: f32 = 0.4;
/// Maximum number of objects per clip.
const MAX_OBJECTS: usize = 4;

/// The masks of one object through the frames.
struct Track {
    masks: Vec<Option<Vec<bool>>>,
    /// The last frame that shows the object.
    last: usize,
}

impl Annotator for Moving {
    fn name(&self) -> &'static str {
        "motion"
    }

    fn annotate(&self, shot: &mut Shot<'_>, counts: &mut Counts) -> Result<()> {
        let clip = &mut shot.clip;
        if clip.frames.len() < 3 || !clip.entities.is_empty() {
            return Ok(());
        }
        let planes: Vec<Plane> = clip.frames.iter().map(Plane::new).collect();
        let flows: Vec<Flow> = planes
            .windows(2)
            .map(|pair| flow(&pair[0], &pair[1]))
            .collect();
        let cameras: Vec<Camera> = flows.iter().map(Flow::camera).collect();
        let mut tracks: Vec<Track> = Vec::new();
        for frame in 0..clip.frames.len() {
            let foreground = foreground(clip, frame, &flows, &cameras);
            if mask::share(&foreground) > 0.6 {
                counts.drop("frame whose camera motion was not found");
                continue;
            }
            let regions = mask::regions(&foreground, clip.frames[frame].width);
            for region in regions {
                let share = mask::share(&region);
                if share < self.min_object {
                    break;
                }
                let region = mask::filled(&region, clip.frames[frame].width);
                if compactness(&region, clip.frames[frame].width as usize) < COMPACT {
                    counts.drop("ragged moving region");
                } else if share <= self.max_object {
                    self.follow(&mut tracks, frame, region, clip.frames.len(), &flows);
                }
            }
        }
        self.add_entities(clip, tracks, counts);
        Ok(())
    }
}

impl Moving {
    /// Adds a region to the track that it continues, or starts a new track.
    fn follow(
        &self,
        tracks: &mut Vec<Track>,
        frame: usize,
        region: Vec<bool>,
        frames: usize,
        flows: &[Flow],
    ) {
        let mut best: Option<(f32, usize)> = None;
        for (i, track) in tracks.iter().enumerate() {
            // A track may miss up to two frames, but takes at most one region per frame.
            if track.last >= frame || frame - track.last > 3 {
                continue;
            }
            let Some(Some(mask)) = track.masks.get(track.last) else {
                continue;
            };
            let mut expected = mask.clone();
            for flow in &flows[track.last..frame] {
                expected = moved(&expected, flow);
            }
            let overlap = mask::overlap(&expected, &region);
            if overlap > 0.25 && best.is_none_or(|(best, _)| overlap > best) {
                best = Some((overlap, i));
            }
        }
        let index = best.map_or(tracks.len(), |(_, index)| index);
        if index == tracks.len() {
            tracks.push(Track {
                masks: vec![None; frames],
                last: frame,
            });
        }
        tracks[index].masks[frame] = Some(region);
        tracks[index].last = frame;
    }

    /// Turns the tracks that are long enough into entities. The shorter tracks take part in the naming, so that no phrase fits
    /// two moving objects.
    fn add_entities(&self, clip: &mut Clip, mut tracks: Vec<Track>, counts: &mut Counts) {
        let frames = clip.frames.len();
        let length = |track: &Track| track.masks.iter().flatten().count();
        tracks.retain(|track| length(track) > 1);
        tracks.sort_by_key(|track| std::cmp::Reverse(length(track)));
        let long = |track: &&Track| length(track) as f32 >= self.seen * frames as f32;
        let count = tracks.iter().take_while(long).count().min(MAX_OBJECTS);
        (count..tracks.len()).for_each(|_| counts.drop("moving object seen too shortly"));
        let pixels = (clip.frames[0].width * clip.frames[0].height) as usize;
        for track in tracks {
            let masks = track.masks.into_iter();
            let masks = masks.map(|mask| mask.unwrap_or_else(|| vec![false; pixels]));
            clip.entities.push(Entity {
                phrases: Vec::new(),
                masks: masks.collect(),
            });
        }
        describe::name(clip);
        clip.entities.truncate(count);
    }
}

/// Returns the mask of the pixels of a frame that move.
fn foreground(clip: &Clip, frame: usize, flows: &[Flow], cameras: &[Camera]) -> Vec<bool> {
    let image = &clip.frames[frame];
    let width = image.width as usize;
    let background = background(clip, frame, cameras);
    let differs = |i: usize| {
        background[i].is_some_and(|colour| {
            let off = |c: usize| (f32::from(image.rgb[3 * i + c]) / 255.0 - colour[c]).abs();
            off(0).max(off(1)).max(off(2)) > DIFFERENCE
        })
    };
    let mut on: Vec<bool> = (0..background.len()).map(differs).collect();
    // The median also contains an object that moves less than its own size; there the flow detects it.
    let step = frame.min(flows.len() - 1);
    let diagonal = (image.width as f32).hypot(image.height as f32);
    let residuals = flows[step].residuals(&cameras[step]);
    let moving: Vec<bool> = residuals.iter().map(|r| *r > 0.012 * diagonal).collect();
    for (on, moving) in on.iter_mut().zip(shrunk(&moving, width, FLOW_WINDOW)) {
        *on |= moving;
    }
    let gap = 2 + width / 100;
    let core = grown(&shrunk(&on, width, 1), width, 1);
    let closed = shrunk(&grown(&core, width, gap), width, gap);
    grown(&shrunk(&closed, width, 2), width, 2)
}

/// Returns the fraction of its bounding box that a region fills.
fn compactness(region: &[bool], width: usize) -> f32 {
    let area = region.iter().filter(|on| **on).count() as f32;
    mask::bounds(region, width).map_or(0.0, |b| area / (b.width() * b.height()) as f32)
}

/// Erodes a mask by `radius` pixels on every side.
fn shrunk(mask: &[bool], width: usize, radius: usize) -> Vec<bool> {
    let outside: Vec<bool> = mask.iter().map(|on| !on).collect();
    grown(&outside, width, radius)
        .into_iter()
        .map(|on| !on)
        .collect()
}

/// Returns the median colour of each pixel over the neighbouring frames, after camera-motion compensation; `None` where
/// fewer than three of them show the pixel.
fn background(clip: &Clip, frame: usize, cameras: &[Camera]) -> Vec<Option<[f32; 3]>> {
    let (width, height) = (
        clip.frames[0].width as usize,
        clip.frames[0].height as usize,
    );
    // At the ends of the clip the window shifts inwards to keep its length.
    let end = clip.frames.len() - 1;
    let first = frame
        .saturating_sub(NEIGHBOURS)
        .min(end.saturating_sub(2 * NEIGHBOURS));
    let last = (first + 2 * NEIGHBOURS).min(end);
    let others: Vec<(&Image, Vec<[f32; 2]>)> = (first..=last)
        .filter(|&other| other != frame)
        .map(|other| {
            (
                &clip.frames[other],
                positions(width, height, frame, other, cameras),
            )
        })
        .collect();
    let pixel = |i: usize| {
        let seen = others.iter().filter_map(|(image, at)| colour(image, at[i]));
        let mut seen: Vec<[f32; 3]> = seen.collect();
        let middle = seen.len() / 2;
        (seen.len() >= 3).then(|| {
            std::array::from_fn(|c| {
                seen.select_nth_unstable_by(middle, |a, b| a[c].total_cmp(&b[c]))
                    .1[c]
            })
        })
    };
    (0..width * height).map(pixel).collect()
}

/// Returns the position of each pixel of `frame` in the frame `other`, by camera motion alone.
fn positions(
    width: usize,
    height: usize,
    frame: usize,
    other: usize,
    cameras: &[Camera],
) -> Vec<[f32; 2]> {
    let start = |i: usize| [(i % width) as f32, (i / width) as f32];
    let mut at: Vec<[f32; 2]> = (0..width * height).map(start).collect();
    let forward = frame < other;
    let steps: Vec<&Camera> = if forward {
        cameras[frame..other].iter().collect()
    } else {
        cameras[other..frame].iter().rev().collect()
    };
    for camera in steps {
        for point in &mut at {
            *point = if forward {
                camera.forward(*point)
            } else {
                camera.back(*point)
            };
        }
    }
    at
}

fn colour(image: &Image, [x, y]: [f32; 2]) -> Option<[f32; 3]> {
    let (w, h) = (image.width as usize, image.height as usize);
    let inside = x >= 0.0 && y >= 0.0 && x <= (w - 1) as f32 && y <= (h - 1) as f32;
    inside.then(|| {
        let i = y.round() as usize * w + x.round() as usize;
        std::array::from_fn(|c| f32::from(image.rgb[3 * i + c]) / 255.0)
    })
}

/// Moves a mask along the flow.
fn moved(mask: &[bool], flow: &Flow) -> Vec<bool> {
    let mut moved = vec![false; mask.len()];
    for (i, _) in mask.iter().enumerate().filter(|(_, on)| **on) {
        let x = (i % flow.width) as f32 + flow.x[i];
        let y = (i / flow.width) as f32 + flow.y[i];
        let (x, y) = (x.round() as isize, y.round() as isize);
        if (0..flow.width as isize).contains(&x) && (0..flow.height as isize).contains(&y) {
            moved[y as usize * flow.width + x as usize] = true;
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::super::super::fit::Fit;
    use super::*;

    const W: usize = 128;
    const H: usize = 80;

    fn ground(x: f32, y: f32) -> [f32; 3] {
        let grain = 25.0 * (0.35 * x + 0.2 * y).sin() + 20.0 * (0.3 * y - 0.11 * x).sin();
        [130.0 + grain, 125.0 + grain, 110.0 + grain]
    }

    /// Returns a clip of a red disc that rolls over the ground under a panning camera, and the disc's masks.
    fn filmed(frames: usize, camera: f32, step: f32) -> (Clip, Vec<Vec<bool>>) {
        let mut clip = Clip::default();
        let mut masks = Vec::new();
        for t in 0..frames {
            let (pan, at) = (camera * t as f32, 25.0 + step * t as f32);
            let inside = |i: usize| ((i % W) as f32 - at).hypot((i / W) as f32 - 40.0) < 10.0;
            let pixel = |i: usize| {
                if inside(i) {
                    [210.0, 40.0 + 2.0 * ((i % W) as f32 - at), 30.0]
                } else {
                    ground((i % W) as f32 + pan, (i / W) as f32)
                }
            };
            let rgb = (0..W * H).flat_map(|i| pixel(i).map(|v| v as u8));
            clip.frames
                .push(Image::from_rgb(W as u32, H as u32, rgb.collect()).unwrap());
            clip.numbers.push(t as u64);
            masks.push((0..W * H).map(inside).collect());
        }
        (clip, masks)
    }

    fn annotated(clip: Clip) -> (Clip, Counts) {
        let fit = Fit::new((W as u32, H as u32), 96, false).unwrap();
        let mut shot = Shot {
            clip,
            video: "test",
            fit,
        };
        let mut counts = Counts::default();
        Moving::default().annotate(&mut shot, &mut counts).unwrap();
        (shot.clip, counts)
    }

    #[test]
    fn a_disc_is_found_in_every_frame_with_a_still_and_with_a_moving_camera() {
        for (camera, step) in [(0.0, 4.0), (1.5, 4.0), (-1.0, 5.0)] {
            let (clip, ground_truth) = filmed(14, camera, step);
            let (clip, counts) = annotated(clip);
            assert_eq!(clip.entities.len(), 1, "camera {camera}: {counts:?}");
            assert!(
                clip.entities[0]
                    .phrases
                    .contains(&"the moving red object".into())
            );
            let overlaps: Vec<f32> = (ground_truth.iter().zip(&clip.entities[0].masks))
                .map(|(expected, found)| mask::overlap(expected, found))
                .collect();
            let mean = overlaps.iter().sum::<f32>() / overlaps.len() as f32;
            assert!(mean > 0.7, "camera {camera}: {overlaps:?}");
        }
    }

    #[test]
    fn nothing_moves_in_a_still_or_a_panned_image() {
        for camera in [0.0, 1.5] {
            let (mut clip, _) = filmed(10, camera, 0.0);
            for (t, frame) in clip.frames.iter_mut().enumerate() {
                let pan = camera * t as f32;
                let pixel = |i: usize| ground((i % W) as f32 + pan, (i / W) as f32);
                frame.rgb = (0..W * H).flat_map(|i| pixel(i).map(|v| v as u8)).collect();
            }
            assert!(annotated(clip).0.entities.is_empty(), "camera {camera}");
        }
    }

    #[test]
    fn short_clips_are_left_alone() {
        let (clip, _) = filmed(2, 0.0, 4.0);
        assert!(annotated(clip).0.entities.is_empty());
        assert!(annotated(Clip::default()).0.entities.is_empty());
    }
}
