//! Makes the seed corpus of the `envelope` target: what clients said to the reference server.

use std::error::Error;
use std::path::Path;

#[path = "../../support/recording.rs"]
mod recording;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/envelope");
    std::fs::create_dir_all(&corpus)?;
    for (number, input) in recording::inputs().iter().enumerate() {
        std::fs::write(corpus.join(format!("recorded-{number:03}")), input)?;
    }
    Ok(())
}
