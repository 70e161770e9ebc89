"""Takes the renders of now as golden ones."""

from chart import HERE, VALUES
from chart import golden as render

if __name__ == "__main__":
    golden = HERE / "golden"
    for old in golden.glob("*.yaml"):
        old.unlink()
    for name in VALUES:
        (golden / f"{name}.yaml").write_text(render(name))
    print(f"{len(VALUES)} renders are in helm/tests/golden")
