//! Turns pictures into features with an ONNX graph that the user names.
//!
//! Why it exists: how far windows of pictures are apart is measured between features, and whose features is the user's
//! choice: Inception, CLIP, DINO, or one of their own. The graph runs in this process, one picture at a time, on a
//! thread that may block. What it refuses to know: what features are compared with. To add a way to scale pixels: a
//! variant of [`Pixels`] with its name and its numbers.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tract_onnx::prelude::{
    Datum as _, Framework as _, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, Tensor, TractResult,
    TypedRunnableModel, tvec,
};
use tract_onnx::tract_hir::infer::Factoid as _;
use tract_onnx::tract_hir::internal::DimLike as _;

use crate::domain::image::Size;
use crate::provider::local::{self, Bounds};
use crate::transport::Boxed;

/// Turns pictures into features.
pub trait Encoder: Send + Sync {
    /// What it is.
    fn about(&self) -> &Encoding;

    /// The features of an encoded picture: as many for every picture.
    fn encode(&self, picture: Bytes) -> Boxed<'_, Result<Vec<f32>, EncoderFault>>;
}

/// What an encoder takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Its file's name.
    pub name: Arc<str>,
    /// The size to which pictures are stretched.
    pub size: Size,
    /// How their pixels are scaled.
    pub pixels: Pixels,
    /// Features of a picture.
    pub features: usize,
}

/// What a channel of 0 to 255 becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pixels {
    /// 0 to 255, for a graph that scales by itself.
    Bytes,
    /// By CLIP's means and deviations.
    Clip,
    /// By the means and deviations of `ImageNet`, as most encoders of torchvision and timm want it.
    #[default]
    Imagenet,
    /// -1 to 1, as Inception was trained.
    Signed,
    /// 0 to 1.
    Unit,
}

/// Why there are no features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderFault(pub String);

impl fmt::Display for EncoderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EncoderFault {}

/// The most features that an encoder may give: beyond it stands a map of features, or a list of tokens.
const MOST_FEATURES: usize = 4_096;
/// The side of the input of a graph that leaves it open: what most encoders were trained on.
const USUAL_SIDE: u32 = 224;
/// The longest side of an input.
const MOST_SIDE: usize = 2_048;
/// What is stored was within these bounds when it came.
const BOUNDS: Bounds = Bounds { max_side: 16_384, max_pixels: 8192 * 8192 };

impl Pixels {
    /// Their names in settings.
    pub const NAMES: [&'static str; 5] = ["bytes", "clip", "imagenet", "signed", "unit"];

    /// Those of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Bytes, Self::Clip, Self::Imagenet, Self::Signed, Self::Unit];
        all.into_iter().find(|pixels| pixels.name() == name)
    }

    /// The name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Clip => "clip",
            Self::Imagenet => "imagenet",
            Self::Signed => "signed",
            Self::Unit => "unit",
        }
    }

    /// Mean and deviation of red, green and blue, in shares of 255.
    const fn scale(self) -> [(f32, f32); 3] {
        match self {
            Self::Bytes => [(0.0, 1.0 / 255.0); 3],
            Self::Clip => [(0.481_454_66, 0.268_629_54), (0.457_827_5, 0.261_302_6), (0.408_210_73, 0.275_777_1)],
            Self::Imagenet => [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)],
            Self::Signed => [(0.5, 0.5); 3],
            Self::Unit => [(0.0, 1.0); 3],
        }
    }
}

/// A graph in the ONNX format, ready to run.
#[derive(Debug)]
pub struct OnnxEncoder {
    about: Encoding,
    graph: Arc<Graph>,
    /// One at a time: purchases need the processor more.
    turn: Semaphore,
}

#[derive(Debug)]
struct Graph {
    plan: Arc<TypedRunnableModel>,
    order: Order,
    size: Size,
    pixels: Pixels,
}

/// Where an input has its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Batch, channels, rows, columns.
    ChannelsFirst,
    /// Batch, rows, columns, channels.
    ChannelsLast,
}

impl OnnxEncoder {
    /// Reads the graph in `path`: one input, a picture of three channels in either order, and features as its first
    /// output. Takes seconds for a large one: for a thread that may block.
    pub fn open(path: &Path, pixels: Pixels) -> Result<Self, EncoderFault> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let model = tract_onnx::onnx().model_for_path(path).map_err(|why| EncoderFault(format!("{why:#}")))?;
        let (order, size) = input(&model)?;
        let [height, width] = [size.height, size.width].map(|side| side as usize);
        let shape = match order {
            Order::ChannelsFirst => [1, 3, height, width],
            Order::ChannelsLast => [1, height, width, 3],
        };
        let fact = InferenceFact::dt_shape(f32::datum_type(), shape);
        let typed = model.with_input_fact(0, fact).and_then(InferenceModelExt::into_optimized);
        let plan = typed.and_then(IntoRunnable::into_runnable).map_err(|why| EncoderFault(format!("{why:#}")))?;
        let graph = Graph { plan, order, size, pixels };
        // A picture of nothing says how many features there are, and that the graph runs at all.
        let features = graph.features(&vec![0; 3 * height * width])?.len();
        if !(1..=MOST_FEATURES).contains(&features) {
            let what = format!("its first output has {features} numbers a picture, and an encoder gives 1 to");
            return Err(EncoderFault(format!("{what} {MOST_FEATURES}: cut the graph at its pooled features")));
        }
        let about = Encoding { name: name.into(), size, pixels, features };
        Ok(Self { about, graph: Arc::new(graph), turn: Semaphore::new(1) })
    }
}

impl Encoder for OnnxEncoder {
    fn about(&self) -> &Encoding {
        &self.about
    }

    fn encode(&self, picture: Bytes) -> Boxed<'_, Result<Vec<f32>, EncoderFault>> {
        Box::pin(async move {
            let fault = |why: &dyn fmt::Display| EncoderFault(format!("the picture was not encoded: {why}"));
            let _turn = self.turn.acquire().await.map_err(|why| fault(&why))?;
            let graph = Arc::clone(&self.graph);
            let work = move || {
                let pixels = local::rgb(&picture, graph.size, BOUNDS).map_err(|why| EncoderFault(why.to_string()))?;
                graph.features(&pixels)
            };
            let features = tokio::task::spawn_blocking(work).await.map_err(|why| fault(&why))??;
            let alike = features.len() == self.about.features && features.iter().all(|value| value.is_finite());
            if alike { Ok(features) } else { Err(fault(&"its features are not finite numbers")) }
        })
    }
}

impl Graph {
    /// The first output for eight-bit pixels, three bytes each, rows from the top.
    fn features(&self, rgb: &[u8]) -> Result<Vec<f32>, EncoderFault> {
        let scale = self.pixels.scale();
        let channel = |value: u8, (mean, deviation): (f32, f32)| (f32::from(value) / 255.0 - mean) / deviation;
        let [height, width] = [self.size.height, self.size.width].map(|side| side as usize);
        let (shape, data): (_, Vec<f32>) = match self.order {
            Order::ChannelsFirst => {
                let planes = (0..)
                    .zip(scale)
                    .flat_map(|(at, scale)| rgb.iter().skip(at).step_by(3).map(move |value| channel(*value, scale)));
                ([1, 3, height, width], planes.collect())
            }
            Order::ChannelsLast => {
                let all = rgb.iter().zip(scale.into_iter().cycle()).map(|(value, scale)| channel(*value, scale));
                ([1, height, width, 3], all.collect())
            }
        };
        let run = || {
            let output = self.plan.run(tvec!(Tensor::from_shape(&shape, &data)?.into()))?;
            let first = output.into_iter().next().map(|first| first.cast_to::<f32>().map(Cow::into_owned));
            first.transpose().and_then(|first| first.map(|first| values(&first)).transpose())
        };
        let run: TractResult<_> = run();
        let features = run.map_err(|why| EncoderFault(format!("the graph does not run: {why:#}")))?;
        features.ok_or_else(|| EncoderFault("the graph has no output".to_owned()))
    }
}

fn values(tensor: &Tensor) -> TractResult<Vec<f32>> {
    Ok(tensor.to_plain_array_view::<f32>()?.iter().copied().collect())
}

/// The order and the size of the one input.
fn input(model: &InferenceModel) -> Result<(Order, Size), EncoderFault> {
    let count = model.inputs.len();
    if count != 1 {
        return Err(EncoderFault(format!("it has {count} inputs, and an encoder of pictures has one")));
    }
    let fact = model.input_fact(0).map_err(|why| EncoderFault(format!("{why:#}")))?;
    let dims: Vec<Option<usize>> =
        fact.shape.dims().map(|dim| dim.concretize().and_then(|dim| dim.to_usize().ok())).collect();
    let (order, sides) = match dims.as_slice() {
        [_, Some(3), height, width] => (Order::ChannelsFirst, [*height, *width]),
        [_, height, width, Some(3)] => (Order::ChannelsLast, [*height, *width]),
        [_, None, height, width] => (Order::ChannelsFirst, [*height, *width]),
        _ => {
            let shown: Vec<_> = dims.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string())).collect();
            let shown = shown.join("x");
            return Err(EncoderFault(format!("its input is {shown}, and a picture is 1x3xHxW or 1xHxWx3")));
        }
    };
    let side = |side: Option<usize>| match side {
        None => Ok(USUAL_SIDE),
        Some(side) if (1..=MOST_SIDE).contains(&side) => Ok(u32::try_from(side).unwrap_or(USUAL_SIDE)),
        Some(side) => Err(EncoderFault(format!("its input is {side} pixels long, and {MOST_SIDE} are the most"))),
    };
    let [height, width] = sides;
    Ok((order, Size::new(side(width)?, side(height)?)))
}
