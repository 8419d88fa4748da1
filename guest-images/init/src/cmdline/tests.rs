use proptest::prelude::*;

use super::*;

fn request(line: &str) -> Request {
    parse(line.as_bytes()).unwrap()
}

#[test]
fn a_command_comes_back_from_among_other_words() {
    let command = "echo \"50 %\" 'a  b'; exit 3 # ä\n";
    let line = format!("console=ttyS0 quiet {} panic=1\n", exec(command));
    assert_eq!(
        request(&line),
        Request {
            exec: Some(command.into()),
            root: None
        }
    );
}

#[test]
fn a_person_may_quote_instead() {
    let line = "ro muster.exec=\"uname -a; date +%25s\" \"muster.root=/dev/vda\"";
    let expected = Request {
        exec: Some("uname -a; date +%s".into()),
        root: Some("/dev/vda".into()),
    };
    assert_eq!(request(line), expected);
}

#[test]
fn without_our_words_there_is_nothing_to_do() {
    for line in [
        "",
        "\n",
        "quiet root=/dev/sda xmuster.exec=a muster.execute=b muster.exec",
    ] {
        assert_eq!(request(line), Request::default(), "{line:?}");
    }
}

#[test]
fn the_last_word_counts() {
    let line = "muster.exec=first muster.root=/dev/a muster.exec=second muster.root=/dev/b";
    let expected = Request {
        exec: Some("second".into()),
        root: Some("/dev/b".into()),
    };
    assert_eq!(request(line), expected);
}

#[test]
fn broken_escapes_are_refused() {
    for (word, shown) in [("a%", "%"), ("%4", "%4"), ("%zz1", "%zz"), ("%+5", "%+5")] {
        assert_eq!(
            decode(word.as_bytes()),
            Err(CmdlineError::Escape(shown.to_owned()))
        );
    }
    assert_eq!(decode(b"a%00b"), Err(CmdlineError::Nul));
    assert_eq!(
        parse(b"muster.exec=%"),
        Err(CmdlineError::Escape("%".to_owned()))
    );
}

proptest! {
    #[test]
    fn any_command_survives(command in proptest::collection::vec(1u8.., 0..300)) {
        let word = encode(&command);
        prop_assert!(word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'));
        prop_assert_eq!(decode(word.as_bytes()).unwrap(), command.clone());
        let parsed = parse(exec(&command).as_bytes()).unwrap();
        prop_assert_eq!(parsed.exec.unwrap().into_vec(), command);
    }

    #[test]
    fn no_line_is_too_strange(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&line);
    }
}
