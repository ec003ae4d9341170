//! `tollgate generate`: one request, its pictures in files, and one line on what it cost and why.
//!
//! Why it exists: the shortest way from a sentence to a picture. What it refuses to know: which model should make it.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::time::Instant;

use super::args::{FormatFlag, GenerateArgs};
use super::ask;
use super::client::{Gateway, Trouble};
use super::console::Console;
use super::exit::{Exit, Failure};
use super::explain;
use super::wire::{self, Answer, Picture};

pub(crate) async fn run(args: GenerateArgs, console: Console) -> Result<Exit, Failure> {
    let to_stdout = args.output == Path::new("-");
    if to_stdout && console.json {
        return Err(Failure::usage("--json and `-o -` both want stdout").help("write the image to a file"));
    }
    let gateway = Gateway::new(&args.gateway)?;
    let body = body(&args)?;
    is_writable(&args.output)?;
    let began = Instant::now();
    let text = match gateway.generate_text(&body, None).await {
        Ok(text) => text,
        Err(trouble) => return Err(refused(trouble, &gateway, console)),
    };
    let seconds = began.elapsed().as_secs_f64();
    let not_ours =
        |why| Failure::new(Exit::Ambiguous, format!("{} answered what is not an image: {why}", gateway.url()));
    let answer: Answer = serde_json::from_slice(&text).map_err(not_ours)?;
    let files = if to_stdout { pipe(&answer)? } else { save(&answer, &args.output)? };
    for warning in &answer.warnings {
        console.warn(warning);
    }
    if console.json {
        let mut value: Value = serde_json::from_slice(&text).map_err(not_ours)?;
        without_bytes(&mut value, &files);
        console.value(&value)?;
    } else if to_stdout {
        console.say(line(&answer, &files, seconds));
    } else {
        console.data(line(&answer, &files, seconds))?;
    }
    Ok(if answer.cost.state == "ambiguous" { Exit::Ambiguous } else { Exit::Ok })
}

fn body(args: &GenerateArgs) -> Result<ask::Body, Failure> {
    let prompt = if args.prompt == "-" { ask::read(Path::new("-"))?.trim().to_owned() } else { args.prompt.clone() };
    let mut flags = args.ask.clone();
    if flags.output_format.is_none() {
        flags.output_format = format_of(&args.output)?;
    }
    let mut body = ask::body(&prompt, &flags);
    body.insert("response_format".to_owned(), "b64_json".into());
    Ok(body)
}

/// The format that a file's extension names. A file that says one thing and holds another helps nobody.
fn format_of(path: &Path) -> Result<Option<FormatFlag>, Failure> {
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        None => Ok(None),
        Some("png") => Ok(Some(FormatFlag::Png)),
        Some("jpg" | "jpeg") => Ok(Some(FormatFlag::Jpeg)),
        Some("webp") => Ok(Some(FormatFlag::Webp)),
        Some(other) => Err(Failure::usage(format!("`.{other}` is not a format that a gateway sends"))
            .help("name the file .png, .jpg or .webp, or say --output-format")),
    }
}

/// Asked before money is spent: whether the file's folder is there.
fn is_writable(output: &Path) -> Result<(), Failure> {
    match output.parent() {
        Some(folder) if folder != Path::new("") && !folder.is_dir() => {
            Err(Failure::usage(format!("there is no folder {}", folder.display()))
                .help(format!("mkdir -p {}", folder.display())))
        }
        _ => Ok(()),
    }
}

/// A refusal for want of a plan shows the candidates.
fn refused(trouble: Trouble, gateway: &Gateway, console: Console) -> Failure {
    if let Trouble::Refused(problem) = &trouble
        && problem.code == "no_plan"
        && let Some(table) = explain::candidates(&problem.body, console.styles_messages())
    {
        console.say(table);
    }
    trouble.into_failure(gateway.url())
}

/// Decodes a picture and holds it against its own hash.
pub(crate) fn decode(picture: &Picture) -> Result<Vec<u8>, String> {
    let text = picture.b64_json.as_deref().ok_or("the answer has no image bytes")?;
    let bytes = base64_simd::STANDARD.decode_to_vec(text).map_err(|_| "the image is not base64")?;
    if wire::sha256(&bytes) == picture.sha256 {
        Ok(bytes)
    } else {
        Err("the image does not match its SHA-256".to_owned())
    }
}

fn save(answer: &Answer, output: &Path) -> Result<Vec<PathBuf>, Failure> {
    let many = answer.images.len() > 1;
    let save = |(at, picture): (usize, &Picture)| {
        let path = if many { numbered(output, at + 1) } else { output.to_owned() };
        let bytes = decode(picture).map_err(|why| Failure::new(Exit::Partial, why))?;
        let written = std::fs::write(&path, bytes);
        written.map_err(|why| {
            let name = format!("{}.{}", picture.sha256, picture.media_type.trim_start_matches("image/"));
            Failure::new(Exit::Partial, format!("{} cannot be written: {why}", path.display()))
                .help(format!("the image is paid for and kept: GET /images/{name}"))
        })?;
        Ok(path)
    };
    answer.images.iter().enumerate().map(save).collect()
}

fn pipe(answer: &Answer) -> Result<Vec<PathBuf>, Failure> {
    let [picture] = answer.images.as_slice() else {
        return Err(Failure::usage("`-o -` takes one image").help("leave out --n, or write to files"));
    };
    let bytes = decode(picture).map_err(|why| Failure::new(Exit::Partial, why))?;
    let written = std::io::stdout().lock().write_all(&bytes);
    written.map_err(|why| Failure::new(Exit::Partial, format!("stdout cannot be written: {why}")))?;
    Ok(Vec::new())
}

/// `fox.png` as `fox-2.png`.
pub(crate) fn numbered(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{number}{extension}"))
}

/// `bike.png  stability/sd3.5-medium  $0.035  5.1 s  fresh; …`.
fn line(answer: &Answer, files: &[PathBuf], seconds: f64) -> String {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let mut why = vec![format!("task {}", answer.task)];
    why.extend(answer.plan.rule.as_ref().map(|rule| format!("rule {rule}")));
    why.extend(answer.plan.expected.as_ref().map(|expected| format!("accepted with {:.2}", expected.accept)));
    if answer.served != "fresh" {
        let saved = wire::purchase(&answer.cost.attempts);
        why.push(format!("{}, ${saved} not spent again", answer.served));
    }
    why.extend(answer.adjustments.iter().cloned());
    let columns = [
        names.join(" "),
        answer.model.clone(),
        format!("${}", answer.cost.usd),
        format!("{seconds:.1} s"),
        why.join(", "),
    ];
    let filled: Vec<_> = columns.into_iter().filter(|column| !column.is_empty()).collect();
    filled.join("  ")
}

/// The answer for `--json`: the files' names in place of their bytes.
fn without_bytes(value: &mut Value, files: &[PathBuf]) {
    let images = value.get_mut("images").and_then(Value::as_array_mut);
    for (image, file) in images.into_iter().flatten().zip(files) {
        if let Value::Object(fields) = image {
            fields.remove("b64_json");
            fields.insert("file".to_owned(), file.display().to_string().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_images_are_numbered_before_the_extension() {
        assert_eq!(numbered(Path::new("out/fox.png"), 2), Path::new("out/fox-2.png"));
        assert_eq!(numbered(Path::new("fox"), 1), Path::new("fox-1"));
    }

    #[test]
    fn the_extension_names_the_format() {
        assert_eq!(format_of(Path::new("a.JPG")), Ok(Some(FormatFlag::Jpeg)));
        assert_eq!(format_of(Path::new("-")), Ok(None));
        assert!(format_of(Path::new("a.gif")).is_err());
    }
}
