//! The manifests of `deploy/kubernetes` keep what they promise: Pod Security *restricted*, and configurations that load.

use std::path::Path;

use config::Section;
use serde_json::Value;

/// All documents of all manifests, with the name of their file.
fn documents() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is part of the project") {
        let path = entry.expect("the folder can be read").path();
        let name = path.display().to_string();
        for text in std::fs::read_to_string(&path).expect("manifests can be read").split("\n---\n") {
            let section = Section::from_yaml("manifest", text).unwrap_or_else(|problems| panic!("{name}: {problems}"));
            all.push((name.clone(), section.decode::<Value>().expect("any YAML is a value")));
        }
    }
    assert!(all.len() >= 4);
    all
}

#[test]
fn pods_pass_pod_security_restricted() {
    let mut containers = 0;
    for (name, document) in documents().iter().filter(|(_, document)| document["spec"].is_object()) {
        let pod = &document["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        assert!(["hostNetwork", "hostPID", "hostIPC"].iter().all(|key| pod[key].is_null()), "{name}");
        for volume in pod["volumes"].as_array().unwrap() {
            let allowed = ["configMap", "persistentVolumeClaim"];
            assert!(volume.as_object().unwrap().keys().all(|key| key == "name" || allowed.contains(&&**key)), "{name}");
        }
        let lists = [&pod["initContainers"], &pod["containers"]];
        for container in lists.into_iter().filter_map(Value::as_array).flatten() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]), "{name}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            let ports = container["ports"].as_array().into_iter().flatten();
            assert!(ports.into_iter().all(|port| port["hostPort"].is_null()), "{name}");
            containers += 1;
        }
    }
    assert_eq!(containers, 3);
}

#[test]
#[cfg(all(feature = "receiver-sql-sqlite", feature = "exporter-prometheus", feature = "extension-health-check"))]
fn configurations_in_config_maps_load() {
    use agent::Agent;
    use config::{MapEnvironment, Sources};

    let env = || MapEnvironment::new().with("NODE_NAME", "node-1");
    let mut loaded = 0;
    for (name, document) in documents().iter().filter(|(_, document)| document["kind"] == "ConfigMap") {
        let yaml = document["data"]["weir.yaml"].as_str().unwrap();
        let sources = Sources { configs: vec![format!("yaml:{yaml}")], sets: Vec::new() };
        Agent::from_config(sources, env()).unwrap_or_else(|rejected| panic!("{name}: {rejected}"));
        loaded += 1;
    }
    assert_eq!(loaded, 2);
}
