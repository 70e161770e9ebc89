use std::collections::BTreeSet;
use std::path::Path;

use super::keys::{KEYS, Key, Kind, Value, example};
use super::*;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    load(
        Some((PathBuf::from("pitchfleet.toml"), text.to_owned())),
        &environment,
    )
    .map(|loaded| loaded.settings)
    .map_err(|error| error.to_string())
}

/// The example with its keys uncommented, all of them or only those that show a default.
fn uncommented(defaults_only: bool) -> String {
    let mut text = String::new();
    let mut section = "";
    for line in example().leak().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            text.push_str(&format!("{line}\n"));
        }
        if line == "# [[sources]]" {
            section = "sources";
        }
        let shown = line.strip_prefix("# ").and_then(|line| {
            let name = line.split_once(" = ")?.0;
            Some((
                line,
                KEYS.iter()
                    .find(|key| key.section == section && key.name == name)?,
            ))
        });
        if let Some((line, key)) = shown
            && (!defaults_only || matches!(key.value, Value::Default(_)))
        {
            text.push_str(&format!("{line}\n"));
        }
    }
    text
}

#[test]
fn the_example_as_it_is_changes_nothing() {
    assert_eq!(read(&example(), &[]), Ok(Settings::default()));
}

#[test]
fn the_examples_defaults_are_the_defaults() {
    assert_eq!(read(&uncommented(true), &[]), Ok(Settings::default()));
}

#[test]
fn every_key_of_the_example_is_understood() {
    // A folder and a bucket exclude one another, so one of them is taken out.
    let text = uncommented(false).replace("folder = ", "# folder = ");
    let settings = read(&text, &[]).unwrap();
    assert_eq!(settings.broker.prefix, "pitchfleet");
    assert_eq!(settings.worker.ahead, Some(8));
}

#[test]
fn the_list_of_keys_is_that_of_the_settings() {
    let value = serde_json::to_value(Settings::default()).unwrap();
    let mut fields = BTreeSet::new();
    for (section, keys) in value.as_object().unwrap() {
        for key in keys.as_object().into_iter().flatten() {
            fields.insert(format!("{section}.{}", key.0));
        }
    }
    let listed: BTreeSet<_> = KEYS.iter().map(super::keys::Key::path).collect();
    assert_eq!(fields, listed);
    let tables = [
        serde_json::to_value(Source::default()).unwrap(),
        serde_json::to_value(Webhook::default()).unwrap(),
    ];
    for (fields, listed) in tables.iter().zip(super::keys::TABLES) {
        let fields: BTreeSet<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, listed.keys.iter().copied().collect());
    }
}

#[test]
fn variables_win_over_the_file_and_text_stays_text() {
    let settings = read(
        "[worker]\nahead = 3\nunload_grace = \"1m\"\n[store]\nbucket = \"a\"\n",
        &[
            ("PITCHFLEET_WORKER_AHEAD", "5"),
            ("PITCHFLEET_WORKER_PRELOAD", "true"),
            ("PITCHFLEET_WORKER_UNLOAD_GRACE", "never"),
            ("PITCHFLEET_STORE_ACCESS_KEY", "0012"),
            ("PITCHFLEET_STORE_SECRET_KEY", "true"),
            ("PITCHFLEET_SOURCES", "[{ bucket = \"photos\" }]"),
            (
                "PITCHFLEET_WEBHOOKS",
                "[{ host = \"a.example\", secrets = [\"x\"] }]",
            ),
        ],
    )
    .unwrap();
    assert_eq!(settings.worker.ahead, Some(5));
    assert!(settings.worker.preload);
    assert_eq!(settings.worker.unload_grace, Grace::Never);
    assert_eq!(settings.store.access_key.unwrap().reveal(), "0012");
    assert_eq!(settings.store.secret_key.unwrap().reveal(), "true");
    assert_eq!(settings.store.bucket.as_deref(), Some("a"));
    assert_eq!(settings.sources[0].bucket, "photos");
    assert_eq!(settings.webhooks[0].host, "a.example");
}

/// What a variable says to set a key as the example does.
fn as_variable(key: &Key) -> String {
    key.value.text().trim_matches('"').to_owned()
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    for key in KEYS {
        let path = key.path();
        // Of two that belong together, neither is set alone.
        let partner = match path.as_str() {
            "broker.user" => "broker.password",
            "broker.password" => "broker.user",
            "store.access_key" => "store.secret_key",
            "store.secret_key" => "store.access_key",
            _ => "",
        };
        let (mut variables, mut file) = (Vec::new(), format!("[{}]\n", key.section));
        for key in KEYS
            .iter()
            .filter(|other| [&path, partner].contains(&other.path().as_str()))
        {
            variables.push((key.variable(), as_variable(key)));
            file.push_str(&format!("{} = {}\n", key.name, key.value.text()));
        }
        let by_variable = read("", &borrowed(&variables)).unwrap();
        assert_eq!(by_variable, read(&file, &[]).unwrap(), "{path}");
        if matches!(key.value, Value::Such(_)) {
            assert_ne!(by_variable, Settings::default(), "{path}");
        }
    }
}

#[test]
fn every_secret_can_lie_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut variables = vec![("PITCHFLEET_BROKER_USER".to_owned(), "u".to_owned())];
    let mut add = |variable: &str, text: &str| {
        let path = dir.path().join(variable);
        std::fs::write(&path, text).unwrap();
        variables.push((format!("{variable}_FILE"), path.to_str().unwrap().to_owned()));
    };
    for key in KEYS.iter().filter(|key| key.kind == Kind::Secret) {
        add(&key.variable(), &format!("{}\n", as_variable(key)));
    }
    add(
        "PITCHFLEET_SOURCES",
        "[{ bucket = \"b\", access_key = \"x\", secret_key = \"y\" }]",
    );
    add("PITCHFLEET_WEBHOOKS", "[{ host = \"h\", secrets = [\"z\"] }]");
    let settings = read("", &borrowed(&variables)).unwrap();
    let secrets = settings.secrets();
    let revealed: Vec<_> = secrets.iter().map(|(_, secret)| secret.reveal()).collect();
    assert_eq!(
        revealed,
        [
            "amqp://pitchfleet:secret@rabbitmq:5672/%2f",
            "secret",
            "GK31c2f218a2e44f485b94239e",
            "secret",
            "x",
            "y",
            "z"
        ]
    );
}

#[test]
fn what_is_secret_in_the_types_is_secret_in_the_list_of_keys() {
    let text = uncommented(false).replace("folder = ", "# folder = ");
    let settings = read(&text, &[]).unwrap();
    let listed: Vec<_> = KEYS
        .iter()
        .filter(|key| key.kind == Kind::Secret)
        .map(Key::path)
        .collect();
    let set: Vec<_> = settings.secrets().into_iter().map(|(key, _)| key).collect();
    assert_eq!(set, listed);
    let shown = toml::to_string(&settings).unwrap();
    assert_eq!(shown.matches("\"***\"").count(), listed.len(), "{shown}");
}

#[test]
fn an_empty_secret_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let empty = empty.to_str().unwrap();
    for (text, variables, expected) in [
        ("[broker]\nurl = \"\"", &[][..], "broker.url is empty"),
        (
            "[broker]\nuser = \"u\"",
            &[("PITCHFLEET_BROKER_PASSWORD", "")],
            "broker.password is empty",
        ),
        (
            "[store]\naccess_key = \"a\"",
            &[("PITCHFLEET_STORE_SECRET_KEY_FILE", empty)],
            "store.secret_key is empty",
        ),
        (
            "[[sources]]\nbucket = \"b\"\naccess_key = \" \"\nsecret_key = \"s\"",
            &[],
            "access_key of the [[sources]] b is empty",
        ),
        (
            "[[webhooks]]\nhost = \"h\"\nsecrets = [\"\"]",
            &[],
            "secrets of the [[webhooks]] h is empty",
        ),
    ] {
        let error = read(text, variables).unwrap_err();
        assert!(
            error.contains(expected) && error.contains("leave it out"),
            "{error}"
        );
    }
}

#[test]
fn secrets_come_from_files_without_the_last_newline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, "p@ss word\n").unwrap();
    let path = path.to_str().unwrap();
    let settings = read(
        "",
        &[
            ("PITCHFLEET_BROKER_USER", "fleet"),
            ("PITCHFLEET_BROKER_PASSWORD_FILE", path),
        ],
    );
    assert_eq!(settings.unwrap().broker.password.unwrap().reveal(), "p@ss word");
    let both = read(
        "",
        &[
            ("PITCHFLEET_BROKER_PASSWORD", "x"),
            ("PITCHFLEET_BROKER_PASSWORD_FILE", path),
        ],
    );
    assert!(both.unwrap_err().contains("both set"));
}

#[test]
fn what_has_no_meaning_is_refused_with_what_was_meant() {
    for (text, expected) in [
        (
            "[broker]\nulr = \"amqp://h\"",
            "line 2: there is no setting `broker.ulr`; did you mean `broker.url`?",
        ),
        (
            "\n[borker]\n",
            "line 2: there is no setting `borker`; did you mean `broker`?",
        ),
        (
            "listen = \"x\"",
            "line 1: there is no setting `listen`; did you mean `api.listen`?",
        ),
        ("[[sources]]\nbukket = \"a\"", "did you mean `sources.bucket`?"),
        ("[api]\nzzz = 1", "`pitchfleet config --example` shows every key"),
    ] {
        let error = read(text, &[]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (text, variables, expected) in [
        ("[worker]\nahead = \"many\"", &[][..], "pitchfleet.toml"),
        ("[worker]\nahead = \"many\"", &[], "worker.ahead"),
        (
            "",
            &[("PITCHFLEET_WORKER_AHEAD", "many")],
            "PITCHFLEET_WORKER_AHEAD",
        ),
        (
            "[worker]\nunload_grace = \"soon\"",
            &[],
            "`soon` is neither a length of time",
        ),
        ("[worker]\ndevice = \"tpu\"", &[], "`tpu` is no device"),
        ("[store]\nfolder = \"a\"\nbucket = \"b\"", &[], "both set"),
        ("[store]\naccess_key = \"a\"", &[], "belong together"),
        ("[[sources]]\nfolder = \"a\"", &[], "has no `bucket`"),
        ("[[webhooks]]\nhost = \"a\"", &[], "needs `host` and `secrets`"),
        (
            "",
            &[("PITCHFLEET_SOURCES", "photos")],
            "PITCHFLEET_SOURCES is not",
        ),
    ] {
        let error = read(text, variables).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn secrets_reach_no_error_and_no_listing() {
    let broken = "[broker]\npassword = \"hunter2\nuser = 1";
    let error = read(broken, &[]).unwrap_err();
    assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
    let settings = read(
        "[broker]\nurl = \"amqp://u:hunter2@h\"\nuser = \"u\"\npassword = \"hunter2\"\n\
         [store]\nbucket = \"b\"\naccess_key = \"hunter2\"\nsecret_key = \"hunter2\"\n\
         [[sources]]\nbucket = \"c\"\naccess_key = \"hunter2\"\nsecret_key = \"hunter2\"\n\
         [[webhooks]]\nhost = \"d\"\nsecrets = [\"hunter2\"]",
        &[],
    )
    .unwrap();
    for text in [toml::to_string(&settings).unwrap(), format!("{settings:?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn slips_in_variables_are_told_and_a_clusters_variables_are_not() {
    let environment: Environment = [
        ("PITCHFLEET_BROKER_URI", "x"),
        ("PITCHFLEET_API_PORT", "tcp://10.0.0.1:80"),
        ("PITCHFLEET_API_SERVICE_HOST", "10.0.0.1"),
        ("PITCHFLEET_TOKEN", "x"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into_iter()
    .collect();
    let doubts = environment.read().unwrap().doubts;
    assert_eq!(
        doubts,
        ["the variable PITCHFLEET_BROKER_URI means nothing; did you mean PITCHFLEET_BROKER_URL?"]
    );
}

#[test]
fn a_file_that_is_asked_for_must_be_there() {
    let error = super::file::find(Some(Path::new("no/such.toml")), &Environment::default()).unwrap_err();
    assert!(error.to_string().contains("no/such.toml cannot be read"));
}
