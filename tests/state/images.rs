//! The images port: what every implementation must do.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tollgate::domain::image::Format;
use tollgate::state::images::StoredImages;
use tollgate::state::{Durability, Images, ImagesFault};

pub(crate) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn picture(n: usize) -> Bytes {
    format!("picture {n}").repeat(n % 1_000 + 1).into()
}

/// One that has a file of its own.
fn large(n: usize) -> Bytes {
    format!("picture {n}").repeat(8_000 + n).into()
}

async fn a_picture_comes_back(images: Arc<dyn Images>) {
    let bytes = picture(999);
    let sha = hash(&bytes);
    assert_eq!(images.get(&sha, Format::Png).await, Ok(None));
    images.put(&sha, Format::Png, bytes.clone()).await.unwrap();
    images.put(&sha, Format::Png, bytes.clone()).await.unwrap();
    assert_eq!(images.get(&sha, Format::Png).await, Ok(Some(bytes)));
    assert_eq!(images.get(&sha, Format::Webp).await, Ok(None));
}

/// Writers of the same picture at the same time make one picture, and readers see it whole or not at all.
async fn writers_at_once_make_one_picture(images: Arc<dyn Images>) {
    let mut tasks = JoinSet::new();
    for n in 0..64 {
        let images = Arc::clone(&images);
        tasks.spawn(async move {
            let bytes = picture(800 + n % 4);
            let sha = hash(&bytes);
            let before = images.get(&sha, Format::Jpeg).await.unwrap();
            images.put(&sha, Format::Jpeg, bytes.clone()).await.unwrap();
            let after = images.get(&sha, Format::Jpeg).await.unwrap();
            before.is_none_or(|seen| seen == bytes) && after == Some(bytes)
        });
    }
    assert!(tasks.join_all().await.into_iter().all(|whole| whole));
}

async fn only_a_digest_is_a_name(images: Arc<dyn Images>) {
    let good = hash(b"x");
    let upper = good.to_uppercase();
    let long = format!("{good}0");
    let climbing = format!("../../{}", &good[6..]);
    let accented = format!("{}é", &good[2..]);
    for bad in ["", "ab", "../../../etc/passwd", "..", &upper, &long, &good[1..], &climbing, &accented, "ab/cd", "\0"] {
        assert!(images.put(bad, Format::Png, Bytes::from_static(b"x")).await.is_err(), "{bad:?}");
        assert!(images.get(bad, Format::Png).await.is_err(), "{bad:?}");
    }
}

/// What passes around the page cache is whole blocks that begin at one in memory; all else must come back as well.
async fn a_picture_of_any_length_at_any_address_comes_back(images: Arc<dyn Images>) {
    const BLOCK: usize = 4096;
    for length in [64 * 1024 + 1, 17 * BLOCK - 1, 17 * BLOCK, 17 * BLOCK + 1, 1 << 20] {
        for beside in [0, 1, 512] {
            let memory: Vec<u8> = (0..length + 2 * BLOCK).map(|n| (n * 31 + n / 251 + length + beside) as u8).collect();
            let begin = memory.as_ptr().align_offset(BLOCK) + beside;
            let bytes = Bytes::from(memory).slice(begin..begin + length);
            let sha = hash(&bytes);
            images.put(&sha, Format::Png, bytes.clone()).await.unwrap();
            assert!(images.get(&sha, Format::Png).await == Ok(Some(bytes)), "{length} bytes at {beside}");
        }
    }
}

/// An implementation, and whatever must outlive it.
type Made = (Arc<dyn Images>, Option<tempfile::TempDir>);

fn folder(durability: Durability) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("images");
    (Arc::new(StoredImages::open_with(url.to_str().unwrap(), durability).unwrap()), Some(folder))
}

fn bucket() -> Made {
    (Arc::new(StoredImages::over(Arc::new(InMemory::new()), "some/prefix")), None)
}

macro_rules! implementations {
    ($($implementation:ident: $made:expr;)*) => {
        $(mod $implementation {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_picture_comes_back() {
                let made: Made = $made;
                super::a_picture_comes_back(made.0).await;
            }

            #[tokio::test]
            async fn a_picture_of_any_length_at_any_address_comes_back() {
                let made: Made = $made;
                super::a_picture_of_any_length_at_any_address_comes_back(made.0).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn writers_at_once_make_one_picture() {
                let made: Made = $made;
                super::writers_at_once_make_one_picture(made.0).await;
            }

            #[tokio::test]
            async fn only_a_digest_is_a_name() {
                let made: Made = $made;
                super::only_a_digest_is_a_name(made.0).await;
            }
        })*
    };
}

// The table of implementations.
implementations! {
    folder_power: folder(Durability::Power);
    folder_process: folder(Durability::Process);
    bucket_memory: bucket();
}

fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            names.extend(files(&entry.path()));
        } else {
            names.push(entry.path().to_str().unwrap().to_owned());
        }
    }
    names.sort();
    names
}

#[tokio::test]
async fn a_folder_holds_exactly_its_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let images = StoredImages::open(&format!("file://{}", folder.path().display())).unwrap();
    let mut expected = Vec::new();
    for (n, format) in (0..9).zip(Format::ALL.into_iter().cycle()) {
        let (bytes, sha) = (large(n), hash(&large(n)));
        images.put(&sha, format, bytes).await.unwrap();
        let extension = ["jpeg", "png", "webp"][n % 3];
        expected.push(folder.path().join(&sha[..2]).join(format!("{sha}.{extension}")).to_str().unwrap().to_owned());
    }
    expected.sort();
    assert_eq!(files(folder.path()), expected);
}

#[tokio::test]
async fn small_pictures_share_a_file_and_are_found_by_the_next_process() {
    for durability in [Durability::Power, Durability::Process] {
        let folder = tempfile::tempdir().unwrap();
        let open = || StoredImages::open_with(folder.path().to_str().unwrap(), durability).unwrap();
        let (first, beside) = (open(), open());
        for n in 0..40 {
            first.put(&hash(&picture(n)), Format::Png, picture(n)).await.unwrap();
            first.put_thumb(&hash(&picture(n)), large(n).slice(..99)).await.unwrap();
        }
        assert_eq!(files(folder.path()), [folder.path().join("small-0001.pack").to_str().unwrap()]);
        for images in [first, beside, open()] {
            for n in 0..40 {
                let sha = hash(&picture(n));
                assert_eq!(images.get(&sha, Format::Png).await, Ok(Some(picture(n))), "{n}");
                assert_eq!(images.thumb(&sha).await, Ok(Some(large(n).slice(..99))), "{n}");
            }
        }
    }
}

#[tokio::test]
async fn a_damaged_picture_is_not_served_and_a_cut_one_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let images = StoredImages::open(folder.path().to_str().unwrap()).unwrap();
    let (bytes, sha) = (large(500), hash(&large(500)));
    images.put(&sha, Format::Png, bytes.clone()).await.unwrap();
    let file = folder.path().join(&sha[..2]).join(format!("{sha}.png"));

    std::fs::write(&file, vec![0; bytes.len()]).unwrap();
    let damaged = images.get(&sha, Format::Png).await;
    assert!(matches!(damaged, Err(ImagesFault(why)) if why.contains("damaged")));

    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(images.get(&sha, Format::Png).await.is_err());
    images.put(&sha, Format::Png, bytes.clone()).await.unwrap();
    assert_eq!(images.get(&sha, Format::Png).await, Ok(Some(bytes)));
}

#[test]
fn other_places_are_refused_by_name() {
    for url in ["gs://bucket/x", "http://example.com/x", "file://host/only"] {
        assert!(StoredImages::open(url).is_err(), "{url}");
    }
}
