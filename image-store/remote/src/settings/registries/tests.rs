use super::*;

fn rules(text: &str) -> Rules {
    let mut rules = Rules::default();
    rules.add(text).unwrap();
    rules
}

fn places(rules: &Rules, name: &str) -> Vec<String> {
    let routes = rules.routes(name, false).unwrap();
    let shown = |route: Route| {
        let mark = if route.insecure { "!" } else { "" };
        format!("{}/{}{mark}", route.host, route.repository)
    };
    routes.into_iter().map(shown).collect()
}

const TEXT: &str = r#"
unqualified-search-registries = ["quay.io"]
[[registry]]
prefix = "docker.io"
location = "hub.internal:5000/proxy"
[[registry.mirror]]
location = "mirror.internal/hub"
insecure = true
[[registry]]
location = "docker.io/library"
[[registry]]
prefix = "*.bad.example"
blocked = true
[aliases]
"ubi" = "registry.example/ubi9"
"#;

#[test]
fn the_longest_prefix_says_where_an_image_is() {
    let rules = rules(TEXT);
    assert_eq!(
        places(&rules, "docker.io/a/b:1"),
        ["mirror.internal/hub/a/b!", "hub.internal:5000/proxy/a/b"]
    );
    assert_eq!(
        places(&rules, "docker.io/library/a:1"),
        ["docker.io/library/a"]
    );
    assert_eq!(places(&rules, "docker.iox/a:1").len(), 1);
    assert_eq!(
        places(&rules, "r.example:5000/a@sha256:x"),
        ["r.example:5000/a"]
    );
    assert!(rules.routes("x.bad.example/a:1", false).is_err());
    assert_eq!(rules.routes("bad.example/a:1", false).unwrap().len(), 1);
    assert_eq!(rules.routes("docker.io/a/b:1", true).unwrap().len(), 1);
}

#[test]
fn short_names_mean_one_thing() {
    let mut said = Vec::new();
    let name = |rules: &Rules, text: &str, said: &mut Vec<String>| rules.whole_name(text, said);
    let found = rules(TEXT);
    assert_eq!(
        name(&found, "ubi:9", &mut said).unwrap(),
        "registry.example/ubi9:9"
    );
    assert_eq!(name(&found, "a/b", &mut said).unwrap(), "quay.io/a/b");
    assert_eq!(
        name(&found, "r.example/a", &mut said).unwrap(),
        "r.example/a"
    );
    assert_eq!(said.len(), 1);
    let none = Rules::default();
    assert_eq!(name(&none, "a", &mut said).unwrap(), "a");
    let two = rules("unqualified-search-registries = [\"a.io\", \"b.io\"]");
    assert!(name(&two, "a", &mut said).is_err());
}

#[test]
fn drop_ins_count_by_name_and_the_last_folder_hides_those_before() {
    let dir = std::env::temp_dir().join(format!("hostrun-drop-ins-{}", std::process::id()));
    let folders = ["system", "none", "own"].map(|name| dir.join(name));
    for (name, host) in [
        ("system/10.conf", "a"),
        ("system/20.conf", "b"),
        ("own/05.conf", "c"),
        ("own/20.conf", "d"),
        ("own/30.conf.off", "e"),
    ] {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!("unqualified-search-registries = [\"{host}\"]");
        fs::write(path, text).unwrap();
    }
    let names = |files: Vec<PathBuf>| -> Vec<String> {
        let shown = |path: &PathBuf| path.strip_prefix(&dir).unwrap().display().to_string();
        files.iter().map(shown).collect()
    };
    assert_eq!(
        names(drop_ins(&folders).unwrap()),
        ["own/05.conf", "system/10.conf", "own/20.conf"]
    );
    // a link to nothing hides, and says nothing
    fs::remove_file(dir.join("own/20.conf")).unwrap();
    std::os::unix::fs::symlink("/dev/null", dir.join("own/20.conf")).unwrap();
    let mut rules = Rules::default();
    for file in drop_ins(&folders).unwrap() {
        rules.add_file(&file).unwrap();
    }
    assert_eq!(rules.search, ["a"]);
    // what is no folder cannot be read
    assert!(drop_ins(&[dir.join("own/05.conf")]).is_err());
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_is_not_understood_is_refused() {
    for text in [
        "[[registry]]\nlocation = \"a.io\"\nbloked = true",
        "[[registry]]\ninsecure = true",
        "[registries.block]\nregistries = [\"a.io\"]",
        "[[registry]]\nlocation = \"a.io\"\n[[registry.mirror]]\nlocation = \"b.io\"\npull-from-mirror = \"x\"",
        "x",
    ] {
        let failure = Rules::default().add(text).unwrap_err();
        assert_eq!(failure.trouble.fault, Fault::Invalid, "{text}");
    }
    let climbing = rules("[[registry]]\nprefix = \"a.io\"\nlocation = \"b.io/../c\"");
    assert!(climbing.routes("a.io/x:1", false).is_err());
}
