//! The image configuration: what we must know of it to store the image.

use oci_spec::image::ImageConfiguration;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::manifest::json_fault;
use crate::platform::Platform;

/// A configuration with its diffIDs parsed.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) image: ImageConfiguration,
    pub(crate) diff_ids: Vec<Digest>,
}

/// Reads a configuration. Everything in it that is not named here stays data for the caller.
pub(crate) fn parse(bytes: &[u8]) -> Result<Config> {
    let image: ImageConfiguration =
        serde_json::from_slice(bytes).map_err(|error| json_fault(&error).within("config"))?;
    let rootfs = image.rootfs();
    if rootfs.typ() != "layers" {
        let cause = format!("root file system type {}", quoted(rootfs.typ()));
        return Err(Error::new(ErrorKind::Unsupported, "read", "config", cause));
    }
    let parse = |text: &String| {
        Digest::parse(text).map_err(|error| Error::corrupt("read", "config", error.to_string()))
    };
    let diff_ids = rootfs.diff_ids().iter().map(parse).collect::<Result<_>>()?;
    Ok(Config { image, diff_ids })
}

impl Config {
    /// Refuses a list of layers that does not pair up with the manifest's.
    pub(crate) fn check_layers(&self, layers: usize, limit: usize) -> Result<()> {
        if layers != self.diff_ids.len() {
            let cause = format!(
                "{layers} layers in the manifest, {} in the config",
                self.diff_ids.len()
            );
            return Err(Error::corrupt("read", "config", cause));
        }
        if layers == 0 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "read",
                "image",
                "it has no layers",
            ));
        }
        if layers > limit {
            let cause = format!("{layers} layers, the limit is {limit}");
            return Err(Error::new(ErrorKind::TooLarge, "read", "image", cause));
        }
        Ok(())
    }

    pub(crate) fn platform(&self) -> Platform {
        let (os, architecture) = (
            self.image.os().to_string(),
            self.image.architecture().to_string(),
        );
        Platform::new(&os, &architecture, self.image.variant().as_deref())
    }

    /// Refuses an image for another platform than asked.
    pub(crate) fn check_platform(&self, wanted: &Platform) -> Result<()> {
        let own = self.platform();
        if wanted.fit(&own).is_some() {
            return Ok(());
        }
        let cause = format!("image is for {own}, not for {wanted}");
        Err(
            Error::new(ErrorKind::WrongArchitecture, "select", "image", cause)
                .with_hint("--platform names the platform to load"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn config_without_usable_diff_ids_is_refused() {
        let base =
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":X}}"#;
        assert!(parse(base.replace('X', "[]").as_bytes()).is_ok());
        let upper = Digest::of(b"").to_string().to_uppercase();
        for bad in [
            "null",
            "[1]",
            r#"["sha256:../x"]"#,
            &format!("[\"{upper}\"]"),
            "{}",
        ] {
            assert!(parse(base.replace('X', bad).as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(br#"{"architecture":"amd64","os":"linux"}"#).is_err());
        let tree = base.replace("layers", "tree").replace('X', "[]");
        assert_eq!(
            parse(tree.as_bytes()).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn docker_nulls_are_accepted() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["sh"],
            "Volumes":null,"ExposedPorts":{"80/tcp":{}},"OnBuild":null,"Healthcheck":{"Test":["NONE"]}},
            "history":[{"created_by":"x","empty_layer":true}],
            "rootfs":{"type":"layers","diff_ids":[]}}"#;
        assert!(parse(text.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            drop(parse(&bytes));
        }
    }
}
