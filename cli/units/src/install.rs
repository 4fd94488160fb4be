//! The links that `[Install]` asks for: a generator makes them itself, as nobody enables what it makes.

use crate::service::Service;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What is wanted, and the folder that says so.
const FOLDERS: [(&str, &str); 3] = [
    ("WantedBy", "wants"),
    ("RequiredBy", "requires"),
    ("UpheldBy", "upholds"),
];

/// All that is done of `[Install]`.
pub(crate) const KEYS: [&str; 5] = [
    "WantedBy",
    "RequiredBy",
    "UpheldBy",
    "Alias",
    "DefaultInstance",
];

/// Links of one service, each with what it leads to.
pub(crate) fn links(service: &Service) -> Vec<(String, String)> {
    let file = service.file_name();
    let mut links = Vec::new();
    // A template is not started, an instance of it is.
    let named: Vec<String> = match service.name.split_once('@') {
        Some((base, "")) => {
            let instances = service.install("DefaultInstance").into_iter();
            instances
                .map(|instance| format!("{base}@{instance}.service"))
                .collect()
        }
        _ => vec![file.clone()],
    };
    for (key, folder) in FOLDERS {
        for unit in service.install(key) {
            for name in &named {
                links.push((format!("{unit}.{folder}/{name}"), format!("../{file}")));
            }
        }
    }
    for alias in service.install("Alias") {
        links.push((alias.to_owned(), file.clone()));
    }
    links.retain(|(link, _)| {
        link.split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.'))
    });
    links
}

/// Writes a service and its links.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write(service: &Service, to: &Path) -> io::Result<()> {
    std::fs::write(to.join(service.file_name()), service.text())?;
    for (link, target) in links(service) {
        let link = to.join(link);
        if let Some(folder) = link.parent() {
            std::fs::create_dir_all(folder)?;
        }
        match symlink(target, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
