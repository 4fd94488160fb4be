//! What the shim says of itself: `-v` and `-info`.

use crate::messages::Any;
use crate::messages::boot::{RuntimeInfo, RuntimeVersion};
use prost::Message;

/// The name containerd knows it by.
const NAME: &str = "io.containerd.hostrun.v1";

/// The type of the features document.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// `-v`.
pub(crate) fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("containerd-shim-hostrun-v1:\n  Version:  {version}\n\n")
}

/// `-info`: a message, with what the library can do in it. The options that come over standard input
/// change nothing of that.
///
/// # Errors
/// A sentence.
pub(crate) fn info() -> Result<Vec<u8>, String> {
    let features = hostrun_runtime::features();
    let features = serde_json::to_vec(&features).map_err(|error| error.to_string())?;
    let info = RuntimeInfo {
        name: NAME.to_owned(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: String::new(),
        }),
        options: None,
        features: Some(Any {
            type_url: FEATURES.to_owned(),
            value: features,
        }),
        annotations: std::collections::BTreeMap::new(),
    };
    Ok(info.encode_to_vec())
}
