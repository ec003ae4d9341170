//! Pictures by content hash, in a folder or a bucket.
//!
//! Why it exists: a bought picture is kept under the SHA-256 of its bytes, so that storing it twice is one picture and
//! reading it proves it. What it refuses to know: what is in a picture, and who may see it. Another place is an
//! [`ObjectStore`] given to [`StoredImages::over`].

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt, PutOptions};
use sha2::{Digest, Sha256};
use url::Url;

use super::folder::Folder;
use super::{Durability, Images, ImagesFault};
use crate::domain::image::{Format, sniff};
use crate::transport::{Boxed, install_tls};

/// Pictures in one place, at `ab/abcdef….png` below it.
#[derive(Debug)]
pub struct StoredImages {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder(Folder),
    Bucket { store: Arc<dyn ObjectStore>, prefix: Key },
}

impl StoredImages {
    /// Opens `url`: the path of a folder, a `file://` URL, or `s3://bucket/prefix` with the usual `AWS_…` variables. A
    /// folder's pictures survive a power cut.
    pub fn open(url: &str) -> Result<Self, ImagesFault> {
        Self::open_with(url, Durability::Power)
    }

    /// Opens `url`; `durability` says whether a folder's pictures are flushed to the disk before they are answered (a
    /// bucket decides for itself).
    pub fn open_with(url: &str, durability: Durability) -> Result<Self, ImagesFault> {
        if let Some(rest) = url.strip_prefix("s3://") {
            return Self::bucket(rest);
        }
        let path = if url.starts_with("file://") {
            let parsed = Url::parse(url).ok().and_then(|url| url.to_file_path().ok());
            parsed.ok_or_else(|| ImagesFault(format!("{url} names no folder")))?
        } else if let Some((scheme, _)) = url.split_once("://") {
            return Err(ImagesFault(format!("pictures cannot be kept at {scheme}:// (use a folder or s3://)")));
        } else {
            Path::new(url).to_owned()
        };
        let folder = Folder::open(&path, durability).map_err(|e| ImagesFault(format!("{}: {e}", path.display())))?;
        Ok(Self { place: Place::Folder(folder) })
    }

    /// Pictures in any object store, below `prefix` (empty for its root).
    pub fn over(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { place: Place::Bucket { store, prefix: Key::from(prefix) } }
    }

    fn bucket(bucket_and_prefix: &str) -> Result<Self, ImagesFault> {
        let (bucket, prefix) = bucket_and_prefix.split_once('/').unwrap_or((bucket_and_prefix, ""));
        install_tls();
        let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build().map_err(failed)?;
        Ok(Self::over(Arc::new(store), prefix))
    }
}

impl Images for StoredImages {
    fn put<'a>(&'a self, sha256: &'a str, format: Format, bytes: Bytes) -> Boxed<'a, Result<(), ImagesFault>> {
        Box::pin(async move {
            let name = name(sha256, format)?;
            match &self.place {
                Place::Folder(folder) => folder.put(name, bytes).await.map_err(failed),
                Place::Bucket { store, prefix } => upload(&**store, &key(prefix, &name), format, bytes).await,
            }
        })
    }

    fn get<'a>(&'a self, sha256: &'a str, format: Format) -> Boxed<'a, Result<Option<Bytes>, ImagesFault>> {
        Box::pin(async move {
            let Some(bytes) = self.find(name(sha256, format)?).await? else { return Ok(None) };
            if hash(bytes.clone()).await? == sha256 {
                Ok(Some(bytes))
            } else {
                Err(ImagesFault(format!("picture {sha256} is damaged")))
            }
        })
    }

    fn put_thumb<'a>(&'a self, sha256: &'a str, bytes: Bytes) -> Boxed<'a, Result<(), ImagesFault>> {
        Box::pin(async move {
            let name = thumb_name(sha256)?;
            match &self.place {
                Place::Folder(folder) => folder.put(name, bytes).await.map_err(failed),
                Place::Bucket { store, prefix } => {
                    upload(
                        &**store,
                        &key(prefix, &name),
                        sniff(&bytes).map_or(Format::Webp, |found| found.format),
                        bytes,
                    )
                    .await
                }
            }
        })
    }

    fn thumb<'a>(&'a self, sha256: &'a str) -> Boxed<'a, Result<Option<Bytes>, ImagesFault>> {
        Box::pin(async move { self.find(thumb_name(sha256)?).await })
    }
}

impl StoredImages {
    async fn find(&self, name: String) -> Result<Option<Bytes>, ImagesFault> {
        match &self.place {
            Place::Folder(folder) => folder.get(name).await.map_err(failed),
            Place::Bucket { store, prefix } => download(&**store, &key(prefix, &name)).await,
        }
    }
}

/// `ab/abcdef….png`. Only the hex of a digest and a known extension ever reach a path.
fn name(sha256: &str, format: Format) -> Result<String, ImagesFault> {
    let is_digest = sha256.len() == 64 && sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match sha256.get(..2) {
        Some(shelf) if is_digest => Ok(format!("{shelf}/{sha256}.{}", format.name())),
        _ => Err(ImagesFault("a picture's name is the SHA-256 of its bytes, in lower-case hex".into())),
    }
}

/// `ab/abcdef….thumb`: beside its picture; its bytes say which format they are.
fn thumb_name(sha256: &str) -> Result<String, ImagesFault> {
    let name = name(sha256, Format::Webp)?;
    Ok(name.replace(".webp", ".thumb"))
}

fn key(prefix: &Key, name: &str) -> Key {
    name.split('/').fold(prefix.clone(), Key::join)
}

async fn upload(store: &dyn ObjectStore, key: &Key, format: Format, bytes: Bytes) -> Result<(), ImagesFault> {
    match store.head(key).await {
        Ok(found) if found.size == bytes.len() as u64 => return Ok(()),
        Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(failed(error)),
    }
    let attributes = Attributes::from_iter([(Attribute::ContentType, format.media_type())]);
    let options = PutOptions { attributes, ..PutOptions::default() };
    store.put_opts(key, bytes.into(), options).await.map(drop).map_err(failed)
}

async fn download(store: &dyn ObjectStore, key: &Key) -> Result<Option<Bytes>, ImagesFault> {
    match store.get(key).await {
        Ok(found) => found.bytes().await.map(Some).map_err(failed),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// A megabyte takes milliseconds, so not on a thread that serves others.
async fn hash(bytes: Bytes) -> Result<String, ImagesFault> {
    let digest = tokio::task::spawn_blocking(move || Sha256::digest(&bytes)).await.map_err(failed)?;
    Ok(digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

fn failed(error: impl std::fmt::Display) -> ImagesFault {
    ImagesFault(error.to_string())
}
