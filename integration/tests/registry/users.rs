//! Images from a registry for an ordinary user.

use super::{PLAIN, with_registry};
use anyhow::Result;
use hostrun_integration::ordinary::Ordinary;
use hostrun_integration::registry::debian::Kind;

#[test]
fn an_ordinary_user_pulls_and_pushes_as_root_does() -> Result<()> {
    with_registry(Kind::default(), |stage, registry, _image| {
        let user = Ordinary::new(stage)?;
        let name = registry.name("box:1");
        user.ok(&["pull", "-q", PLAIN, &name])?;
        let words = ["run", "--rm", "--pull", "never", &name, "cat", "/opt/kept"];
        assert_eq!(user.ok(&words)?, "from the second layer\n");
        let other = registry.name("box:2");
        user.ok(&["tag", &name, &other])?;
        user.ok(&["push", "-q", PLAIN, &other])?;
        user.ok(&["rmi", &name, &other])?;
        user.ok(&["pull", "-q", PLAIN, &other]).map(drop)
    })
}
