use super::*;

fn pixel() -> Image {
    Image::from_rgb(1, 1, vec![0; 3]).unwrap()
}

fn refusal(request: &Request) -> String {
    request.check().unwrap_err().to_string()
}

#[test]
fn a_reference_to_an_image_that_was_not_given_is_refused_with_what_is_there() {
    let request = Request::new("put the dog of IMG2 on the sofa of IMG1");
    assert!(refusal(&request).contains("IMG2, but no input image was given"));
    let request = request.frame(pixel(), Role::Canvas);
    assert!(refusal(&request).contains("IMG2, but the only input image is IMG1"));
    request.frame(pixel(), Role::Asset).check().unwrap();
    assert!(refusal(&Request::new("RES2 is its mask")).contains("the only output is RES1"));
}

#[test]
fn numbers_out_of_range_are_refused() {
    let with = |change: fn(&mut Request)| {
        let mut request = Request::new("a red cube");
        change(&mut request);
        refusal(&request)
    };
    assert!(refusal(&Request::new("  ")).contains("empty"));
    assert!(with(|r| r.steps = Some(0)).contains("0 steps"));
    assert!(with(|r| r.outputs = 11).contains("11 outputs"));
    assert!(with(|r| r.guidance = Some(f32::NAN)).contains("NaN"));
    assert!(
        with(|r| r.frames = vec![
            Frame {
                image: pixel(),
                role: Role::Asset
            };
            11
        ])
        .contains("at most 10")
    );
    assert!(
        with(|r| r.context = Some(vec![Tag::StaticScenario, Tag::DynamicScenario]))
            .contains("contradict")
    );
}

#[test]
fn what_is_left_alone_is_kept_in_an_edit_of_one_canvas() {
    let image = || Image::from_rgb(1, 1, vec![0; 3]).expect("a pixel");
    let edit = || Request::new("remove the cube").frame(image(), Role::Canvas);
    assert!(edit().composite_canvas().is_some());
    assert!(
        edit()
            .frame(image(), Role::Asset)
            .composite_canvas()
            .is_some()
    );
    let changed: [fn(&mut Request); 4] = [
        |request| request.composite = false,
        |request| request.outputs = 2,
        |request| request.context = Some(vec![Tag::DynamicScenario]),
        |request| request.context = Some(vec![Tag::StaticScenario, Tag::PerceptionTask]),
    ];
    for change in changed {
        let mut request = edit();
        change(&mut request);
        assert!(request.composite_canvas().is_none());
    }
    assert!(
        edit()
            .frame(image(), Role::Canvas)
            .composite_canvas()
            .is_none()
    );
    assert!(
        Request::new("a cube")
            .frame(image(), Role::Asset)
            .composite_canvas()
            .is_none()
    );
}

#[test]
fn tags_are_derived_from_roles_and_can_be_overridden() {
    let edit = Request::new("make it blue").frame(pixel(), Role::Canvas);
    assert_eq!(
        edit.text(),
        "realistic style, static scenario, make it blue"
    );
    let scene = Request::new("the toy of IMG1 at sea").frame(pixel(), Role::Asset);
    assert_eq!(
        scene.tags(),
        [
            Tag::RealisticStyle,
            Tag::WithReferenceObject,
            Tag::NovelScenario
        ]
    );
    let mut chosen = edit;
    chosen.context = Some(vec![
        "dynamic scenario".parse().unwrap(),
        Tag::SyntheticStyle,
    ]);
    assert_eq!(
        chosen.text(),
        "synthetic style, dynamic scenario, make it blue"
    );
    assert!(
        "sunny"
            .parse::<Tag>()
            .unwrap_err()
            .to_string()
            .contains("perception task")
    );
    assert!(
        "mask"
            .parse::<Role>()
            .unwrap_err()
            .to_string()
            .contains("control")
    );
}
