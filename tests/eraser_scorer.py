"""ERASER's scoring of a predictions file, by loops alone, from the definitions of its paper and of its released scorer.

Two files in, numbers out: annotations and documents as released, predictions as jsonl. Nothing of `sgt_hf` is used, so
that it can judge what `sgt_hf` writes.
"""

import json
from collections import defaultdict
from itertools import pairwise

THRESHOLDS = [0.01, 0.05, 0.1, 0.2, 0.5]  # the released scorer's default


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_documents(folder):
    """Words of each document; the released reader splits lines at single spaces."""
    if (folder / "docs.jsonl").exists():
        texts = {record["docid"]: record["document"] for record in read_jsonl(folder / "docs.jsonl")}
    else:
        paths = [path for path in (folder / "docs").rglob("*") if path.is_file()]
        texts = {path.relative_to(folder / "docs").as_posix(): path.read_text(encoding="utf-8") for path in paths}
    return {
        docid: [word for line in text.split("\n") for word in line.strip().split(" ") if word]
        for docid, text in texts.items()
    }


def score_file(folder, split, predictions_path, thresholds=THRESHOLDS):
    annotations = read_jsonl(folder / f"{split}.jsonl")
    documents = read_documents(folder)
    predictions = read_jsonl(predictions_path)
    complaints = [problem for row in predictions for problem in verify(row, documents, predictions[0])]
    assert not complaints, complaints
    assert len({row["annotation_id"] for row in predictions}) == len(predictions)
    scores = {
        "accuracy": accuracy(annotations, predictions),
        "macro_f1": macro_f1(annotations, predictions),
        "auprc": auprc(annotations, documents, predictions),
    }
    first = predictions[0]["rationales"][0]
    if first.get("hard_rationale_predictions"):  # where the first has none, the released scorer skips these
        scores |= {"token": token_f1(annotations, predictions), "iou": iou_f1(annotations, predictions)}
    for kind in ("comprehensiveness", "sufficiency"):
        scores[kind] = mean(
            row["classification_scores"][row["classification"]]
            - row[f"{kind}_classification_scores"][row["classification"]]
            for row in predictions
        )
        scores[f"{kind}_aopc"] = aopc(predictions, f"{kind}_classification_scores", thresholds)
    return scores


def verify(row, documents, first):
    """What the released scorer refuses, in the words of this file."""
    if type(row["annotation_id"]) is not str or type(row["classification"]) is not str:
        yield "ids and classes are strings"
    seen = []
    for rationale in row["rationales"]:
        docid = rationale["docid"]
        if docid not in documents or docid in seen:
            yield f"{docid} is no document, or twice there"
            continue
        seen.append(docid)
        if len(rationale["soft_rationale_predictions"]) != len(documents[docid]):
            yield f"{docid} needs one soft score a word"
        covered = set()
        for span in rationale["hard_rationale_predictions"]:
            words = set(range(span["start_token"], span["end_token"]))
            if not words or words & covered or max(words) >= len(documents[docid]) or min(words) < 0:
                yield f"{span} is empty, overlaps, or leaves {docid}"
            covered |= words
    names = set(first["classification_scores"])
    scored = [row, *row["thresholded_scores"]]
    for entry in scored:
        for kind in ("comprehensiveness_classification_scores", "sufficiency_classification_scores"):
            if set(entry[kind]) != names or abs(sum(entry[kind].values()) - 1) > 1e-5:
                yield f"{kind} is no distribution over {names}"
    if row["classification"] != max(row["classification_scores"], key=row["classification_scores"].get):
        yield "the class is not the likeliest"
    if {entry["threshold"] for entry in scored[1:]} != {entry["threshold"] for entry in first["thresholded_scores"]}:
        yield "rows differ in thresholds"


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def accuracy(annotations, predictions):
    found = {row["annotation_id"]: row["classification"] for row in predictions}
    return mean(float(found[one["annotation_id"]] == one["classification"]) for one in annotations)


def macro_f1(annotations, predictions):
    found = {row["annotation_id"]: row["classification"] for row in predictions}
    pairs = [(one["classification"], found[one["annotation_id"]]) for one in annotations]
    scores = []
    for name in sorted({name for pair in pairs for name in pair}):
        hits = sum(true == guess == name for true, guess in pairs)
        precision = hits / max(1, sum(guess == name for _, guess in pairs))
        recall = hits / max(1, sum(true == name for true, _ in pairs))
        scores.append(f1(precision, recall))
    return mean(scores)


def aopc(predictions, key, thresholds):
    """Mean over rows and thresholds of the drop of the predicted class's probability."""
    drops = []
    for row in predictions:
        entries = [entry for entry in row["thresholded_scores"] if entry["threshold"] in thresholds]
        assert len(entries) == len(thresholds)
        for entry in entries:
            drops.append(row["classification_scores"][row["classification"]] - entry[key][row["classification"]])
    return mean(drops)


def f1(precision, recall):
    return 0.0 if precision == 0 or recall == 0 else 2 * precision * recall / (precision + recall)


def true_spans(annotations):
    spans = defaultdict(set)
    for one in annotations:
        for group in one["evidences"]:
            for evidence in group:
                key = (one["annotation_id"], evidence["docid"])
                spans[key].add((evidence["start_token"], evidence["end_token"]))
    return spans


def predicted_spans(predictions):
    spans = defaultdict(set)
    for row in predictions:
        for rationale in row["rationales"]:
            for span in rationale["hard_rationale_predictions"]:
                spans[row["annotation_id"], rationale["docid"]].add((span["start_token"], span["end_token"]))
    return spans


def words_of(spans):
    words = {key: {word for start, end in values for word in range(start, end)} for key, values in spans.items()}
    return {key: values for key, values in words.items() if values}


def token_f1(annotations, predictions):
    truth, guesses = words_of(true_spans(annotations)), words_of(predicted_spans(predictions))
    units = []
    hits = 0
    for key in set(truth) | set(guesses):
        marked, guessed = truth.get(key, set()), guesses.get(key, set())
        shared = len(marked & guessed)
        hits += shared
        precision = shared / len(guessed) if guessed else 0.0
        recall = shared / len(marked) if marked else 0.0
        units.append((precision, recall, f1(precision, recall)))
    precision = hits / sum(len(words) for words in guesses.values())
    recall = hits / sum(len(words) for words in truth.values())
    return {
        "macro": tuple(mean(unit[part] for unit in units) for part in range(3)),
        "micro": (precision, recall, f1(precision, recall)),
    }


def iou_f1(annotations, predictions, threshold=0.5):
    truth, guesses = true_spans(annotations), predicted_spans(predictions)
    hits = {}
    for key, spans in guesses.items():
        hits[key] = 0
        for span in spans:
            best = 0.0
            for other in truth.get(key, ()):
                first, second = set(range(*span)), set(range(*other))
                best = max(best, len(first & second) / len(first | second) if first | second else 0.0)
            hits[key] += best >= threshold
    precision = mean(hits[key] / len(guesses[key]) for key in guesses)
    recall = mean(hits.get(key, 0) / len(truth[key]) for key in truth)
    micro_precision = sum(hits.values()) / sum(len(spans) for spans in guesses.values())
    micro_recall = sum(hits.values()) / sum(len(spans) for spans in truth.values())
    return {
        "macro": (precision, recall, f1(precision, recall)),
        "micro": (micro_precision, micro_recall, f1(micro_precision, micro_recall)),
    }


def auprc(annotations, documents, predictions):
    """Mean over documents of the area under the precision-recall curve, by trapezoids from recall 0, precision 1."""
    truth = words_of(true_spans(annotations))
    areas = []
    for row in predictions:
        for rationale in row["rationales"]:
            marked = truth.get((row["annotation_id"], rationale["docid"]), set())
            areas.append(area(marked, rationale["soft_rationale_predictions"]))
    return mean(areas)


def area(marked, scores):
    """One document's. Where nothing is marked, recall is one at every threshold, as in scikit-learn."""
    points = [(0.0, 1.0)]
    for threshold in sorted(set(scores), reverse=True):
        chosen = {word for word, score in enumerate(scores) if score >= threshold}
        recall = len(chosen & marked) / len(marked) if marked else 1.0
        points.append((recall, len(chosen & marked) / len(chosen)))
    total = 0.0
    for (recall, precision), (next_recall, next_precision) in pairwise(points):
        total += (next_recall - recall) * (precision + next_precision) / 2
    return total
