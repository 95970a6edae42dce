//! English grammar of prompts: articles of noun phrases, and lists.

/// Returns the phrase with a definite article: "the dog" for "a dog", "dog" and "the dog".
pub(in super::super) fn definite(phrase: &str) -> String {
    let (article, noun) = split_article(phrase);
    match article {
        "" if takes_no_article(noun) => phrase.to_owned(),
        _ => format!("the {noun}"),
    }
}

/// Returns the phrase with an indefinite article: "a dog" for "the dog" and "dog"; "the largest dog" stays, since it is unique.
pub(in super::super) fn indefinite(phrase: &str) -> String {
    let (article, noun) = split_article(phrase);
    if article.is_empty() && takes_no_article(noun) {
        return phrase.to_owned();
    }
    let first = noun.split(' ').next().unwrap_or_default();
    if first.ends_with("most") || (first.len() > 4 && first.ends_with("est")) || first == "only" {
        return format!("the {noun}");
    }
    if takes_no_article(noun) {
        return noun.to_owned();
    }
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

fn split_article(phrase: &str) -> (&str, &str) {
    match phrase.split_once(' ') {
        Some(("the" | "The", noun)) => ("the", noun),
        Some(("a" | "an" | "A" | "An", noun)) => ("a", noun),
        _ => ("", phrase),
    }
}

/// Returns whether a noun phrase takes no article, because it has another determiner or is a plural.
fn takes_no_article(noun: &str) -> bool {
    let first = noun.split(' ').next().unwrap_or_default();
    let determiners = [
        "two", "three", "four", "five", "six", "some", "many", "several", "his", "her", "their",
        "its", "my", "it", "them", "one", "this", "that",
    ];
    let last = noun
        .split(' ')
        .take_while(|word| !PREPOSITIONS.contains(word))
        .last();
    let plural = last.is_some_and(|last| {
        last.len() > 3
            && last.ends_with('s')
            && !["ss", "us", "is"].iter().any(|end| last.ends_with(end))
    });
    determiners.contains(&first) || plural
}

const PREPOSITIONS: [&str; 12] = [
    "of", "on", "in", "at", "with", "near", "behind", "beside", "left", "right", "that", "under",
];

/// Joins a list with commas and "and": "RES1, RES2 and RES3".
pub(in super::super) fn join_list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles() {
        for (phrase, with_the, with_a) in [
            ("the red cube", "the red cube", "a red cube"),
            ("An orange ball", "the orange ball", "an orange ball"),
            ("the glasses", "the glasses", "glasses"),
            ("snowman", "the snowman", "a snowman"),
            ("the orange ball", "the orange ball", "an orange ball"),
            (
                "the leftmost solid",
                "the leftmost solid",
                "the leftmost solid",
            ),
            ("the largest ball", "the largest ball", "the largest ball"),
            ("two men", "two men", "two men"),
            ("trees", "trees", "trees"),
            (
                "the glass on the table",
                "the glass on the table",
                "a glass on the table",
            ),
        ] {
            assert_eq!(definite(phrase), with_the);
            assert_eq!(indefinite(phrase), with_a);
        }
        assert_eq!(
            join_list(&["a".into(), "b".into(), "c".into()]),
            "a, b and c"
        );
    }
}
