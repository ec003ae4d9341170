//! Windows of pictures, encoded by a graph that is named, are held against each other.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use tollgate::state::Encoder as _;
use tollgate::state::encoder::{OnnxEncoder, Pixels};

use crate::harness::{House, bounds, stability_alone};
use crate::onnx;

/// Where a graph is for the time of a test.
struct Graph(tempfile::TempDir);

impl Graph {
    fn of(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tiny.onnx"), bytes).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("tiny.onnx")
    }

    fn open(&self, pixels: Pixels) -> Result<OnnxEncoder, String> {
        OnnxEncoder::open(&self.path(), pixels).map_err(|fault| fault.0)
    }
}

/// Red above, blue below.
fn flag() -> Bytes {
    let picture = RgbImage::from_fn(90, 60, |_, y| if y < 30 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).unwrap();
    png.into_inner().into()
}

#[tokio::test]
async fn a_graph_sees_the_pixels_as_it_wants_them() {
    let first = Graph::of(&onnx::colours(32, 2));
    let pool: [(&str, &[u64]); 2] = [("kernel_shape", &[16, 16]), ("strides", &[16, 16])];
    let turned = [
        onnx::node("Transpose", "picture", "planes", &[("perm", &[0, 3, 1, 2])]),
        onnx::node("AveragePool", "planes", "pooled", &pool),
        onnx::node("Flatten", "pooled", "features", &[]),
    ];
    let ends = [onnx::tensor("picture", &["1", "32", "32", "3"])];
    let last = Graph::of(&onnx::model(&turned, &ends, &[onnx::tensor("features", &["1", "12"])]));
    let upper = |high: f32, low: f32| [high, high, low, low, low, low, low, low, low, low, high, high];
    for graph in [&first, &last] {
        for (pixels, wanted) in
            [(Pixels::Unit, upper(1.0, 0.0)), (Pixels::Signed, upper(1.0, -1.0)), (Pixels::Bytes, upper(255.0, 0.0))]
        {
            let encoder = graph.open(pixels).unwrap();
            let about = encoder.about().clone();
            assert_eq!((&*about.name, about.features, about.size.to_string()), ("tiny.onnx", 12, "32x32".to_owned()));
            let found = encoder.encode(flag()).await.unwrap();
            let scale = wanted.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            for (found, wanted) in found.iter().zip(wanted) {
                assert!((found - wanted).abs() < 0.02 * scale, "{pixels:?}: {found} for {wanted}");
            }
        }
    }
    let imagenet = first.open(Pixels::Imagenet).unwrap().encode(flag()).await.unwrap();
    assert!((imagenet[0] - (1.0 - 0.485) / 0.229).abs() < 0.05, "{imagenet:?}");
    assert!((imagenet[4] + 0.456 / 0.224).abs() < 0.05, "{imagenet:?}");
    let broken = first.open(Pixels::Unit).unwrap().encode(Bytes::from_static(b"no picture")).await;
    assert!(broken.is_err());
}

#[test]
fn an_open_size_is_the_usual_one() {
    let pool: [(&str, &[u64]); 2] = [("kernel_shape", &[112, 112]), ("strides", &[112, 112])];
    let nodes = [onnx::node("AveragePool", "x", "pooled", &pool), onnx::node("Flatten", "pooled", "y", &[])];
    let graph = Graph::of(&onnx::model(
        &nodes,
        &[onnx::tensor("x", &["batch", "channels", "height", "width"])],
        &[onnx::tensor("y", &["batch", "features"])],
    ));
    let encoder = graph.open(Pixels::Clip).unwrap();
    assert_eq!((encoder.about().size.to_string(), encoder.about().features), ("224x224".to_owned(), 12));
}

#[test]
fn what_is_no_encoder_is_refused_with_the_reason() {
    let flatten = [onnx::node("Flatten", "x", "y", &[])];
    let output = || [onnx::tensor("y", &["N", "M"])];
    let of = |dims: &[&str]| onnx::model(&flatten, &[onnx::tensor("x", dims)], &output());
    let two = [onnx::tensor("x", &["1", "3", "8", "8"]), onnx::tensor("words", &["1", "7"])];
    for (bytes, reason) in [
        (b"no graph".to_vec(), ""),
        (of(&["1", "3", "64", "64"]), "12288 numbers"),
        (of(&["1", "4", "8", "8"]), "1x4x8x8"),
        (of(&["1", "10"]), "1x10"),
        (of(&["1", "3", "9000", "8"]), "9000 pixels"),
        (onnx::model(&flatten, &two, &output()), "2 inputs"),
    ] {
        let fault = Graph::of(&bytes).open(Pixels::Unit).map(drop).unwrap_err();
        assert!(fault.contains(reason) && !fault.is_empty(), "{fault}");
    }
    let missing = OnnxEncoder::open("/nowhere/encoder.onnx".as_ref(), Pixels::Unit).map(drop);
    assert!(missing.is_err());
}

const MODEL: &str = "stability/sd3.5-medium";

/// Buys a picture; its generation, and how bright it is.
async fn bought(house: &House, encoder: &OnnxEncoder, number: usize) -> (String, f32) {
    let body = json!({"prompt": format!("a lighthouse on a cliff, sketch {number}"), "model": MODEL, "size": "1024x1024",
        "seed": number, "response_format": "url", "quality": 0.0});
    let answer = house.post("/generate", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let made = answer.json();
    let picture = house.get(made["images"][0]["url"].as_str().unwrap()).await.body;
    let bright = encoder.encode(picture.into()).await.unwrap().iter().sum();
    (made["id"].as_str().unwrap().to_owned(), bright)
}

async fn accept(house: &House, id: &str) {
    let answer = house.post(&format!("/generations/{id}/feedback"), &json!({"accepted": true})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The windows of a model, or of all together, as the page reads them.
async fn sample(house: &House, model: Value) -> Value {
    house.engine.sample().await.unwrap();
    let told = house.get("/studio/api/drift").await.json();
    let mut samples = told["samples"].as_array().unwrap().clone().into_iter();
    samples.find(|sample| sample["model"] == model).unwrap_or_default()
}

/// The windows after the pictures at these places, from dark to bright, were accepted.
async fn windows(encoder: &Arc<OnnxEncoder>, accepted: impl Fn(usize) -> bool) -> (House, Value) {
    let house = House::sampling(Arc::clone(encoder) as _, 64).await;
    let mut pictures = Vec::new();
    for number in 1..=16 {
        pictures.push(bought(&house, encoder, number).await);
    }
    pictures.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (place, (id, _)) in pictures.iter().enumerate() {
        if accepted(place) {
            accept(&house, id).await;
        }
    }
    let found = sample(&house, MODEL.into()).await;
    (house, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn new_pictures_unlike_the_accepted_ones_are_further_away() {
    let graph = Graph::of(&onnx::colours(32, 1));
    let encoder = Arc::new(graph.open(Pixels::Unit).unwrap());
    let number = |sample: &Value, name: &str| sample["found"][name].as_f64().unwrap();

    let (house, alike) = windows(&encoder, |place| place % 2 == 0).await;
    assert_eq!((&alike["accepted"], &alike["new"]), (&json!(8), &json!(8)), "no picture is in both: {alike}");
    assert!(number(&alike, "low") <= number(&alike, "extrapolated"), "{alike}");
    assert!(number(&alike, "extrapolated") <= number(&alike, "high"), "{alike}");
    assert_eq!((&alike["found"]["small"], alike["found"]["curve"].as_array().unwrap().len()), (&json!(true), 5));
    assert_eq!(sample(&house, Value::Null).await["found"], alike["found"], "all models are this one");

    let (_, unlike) = windows(&encoder, |place| place >= 8).await;
    let (near, far) = (number(&alike, "distance"), number(&unlike, "distance"));
    assert!(far > 3.0 * near, "the dark are {far} from the bright; each second one is {near} from the others");

    // The audit's pictures are always the same and in no window; other pictures wait for an hour, or until there are
    // twice as many.
    house.engine.audit().await.unwrap();
    assert_eq!(sample(&house, Value::Null).await, sample(&house, Value::Null).await);
    for number in 17..=23 {
        let (id, _) = bought(&house, &encoder, number).await;
        accept(&house, &id).await;
    }
    assert_eq!(sample(&house, MODEL.into()).await, alike);
    for number in 24..=32 {
        let (id, _) = bought(&house, &encoder, number).await;
        if number == 24 {
            accept(&house, &id).await;
        }
    }
    let grown = sample(&house, MODEL.into()).await;
    assert_eq!((&grown["accepted"], &grown["new"]), (&json!(16), &json!(16)));
    assert_ne!(grown["found"], alike["found"]);
}

#[tokio::test]
async fn without_an_encoder_nothing_is_compared() {
    let house = House::with(bounds(), stability_alone).await;
    house.engine.sample().await.unwrap();
    let told = house.get("/studio/api/drift").await.json();
    assert_eq!((&told["encoder"], &told["samples"]), (&Value::Null, &json!([])));
}
