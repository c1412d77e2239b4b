# The two commands for a newcomer are `make demo` and `make test`.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
STAGE := $(TARGET)/stage
# One set a folder of plugins/; libguestd_NAME.so is installed as NAME.so.
SETS := $(notdir $(patsubst %/Cargo.toml,%,$(wildcard plugins/*/Cargo.toml)))

.PHONY: all build demo test test-systemd check reference bench fuzz soak clean

all: build

# Builds everything and lays it out as it would be installed, in $(STAGE). Only these packages: with docs/generator among them
# cargo would build the sets with their schemas.
build:
	$(CARGO) build --release -p guestd $(SETS:%=-p guestd-%)
	install -d $(STAGE)/sbin $(STAGE)/lib/guestd/plugins $(STAGE)/lib/systemd/system $(STAGE)/lib/udev/rules.d
	chmod 755 $(STAGE) $(STAGE)/sbin $(STAGE)/lib $(STAGE)/lib/guestd $(STAGE)/lib/guestd/plugins
	install -m 755 $(TARGET)/release/guestd $(STAGE)/sbin/.guestd.new
	mv -f $(STAGE)/sbin/.guestd.new $(STAGE)/sbin/guestd
	ln -sfn guestd $(STAGE)/sbin/qemu-ga
	install -m 644 packaging/systemd/guestd.service packaging/systemd/guestd-channels.service $(STAGE)/lib/systemd/system
	install -m 644 packaging/udev/60-guestd.rules $(STAGE)/lib/udev/rules.d
	rm -f $(STAGE)/lib/guestd/plugins/*.so
	for set in $(SETS); do install -m 644 $(TARGET)/release/libguestd_$$set.so $(STAGE)/lib/guestd/plugins/$$set.so || exit 1; done

# A newcomer's first command: builds, starts the agent and shows it answering.
demo:
	tests/install-tools.sh build
	$(MAKE) --no-print-directory build
	sh examples/demo.sh $(STAGE)

# The second: everything that can be tested on this machine. Says what it skips and why.
test:
	tests/install-tools.sh build test
	$(MAKE) --no-print-directory build
	tests/run.sh $(STAGE)

# In a virtual machine with systemd, whose image is made first: apart, since that takes minutes and a Debian mirror.
test-systemd: build
	tests/install-tools.sh test-systemd
	tests/vm/systemd-image.sh $(TARGET)/systemd-guest
	GUESTD_STAGE=$(abspath $(STAGE)) GUESTD_SYSTEMD_IMAGE=$(abspath $(TARGET))/systemd-guest/root.img $(CARGO) test --quiet -p guestd-vm --test systemd -- --ignored

# Measures guestd beside Debian's qemu-ga in one run, here and in a virtual machine where QEMU is installed, and leaves
# the tables and a plot in $(TARGET). Figures, not a test.
bench: build
	tests/install-tools.sh build
	GUESTD_STAGE=$(abspath $(STAGE)) $(CARGO) run --release -p guestd-bench -- --vm --markdown $(TARGET)/benchmark.md --svg $(TARGET)/throughput.svg

# Looks for inputs that break a reader of bytes (tests/fuzz/README.md): SECONDS for each of TARGETS. Takes cargo-fuzz and a nightly
# compiler.
TARGETS ?= $(notdir $(basename $(wildcard tests/fuzz/fuzz/fuzz_targets/*.rs)))
SECONDS ?= 60
fuzz:
	cd tests/fuzz && for target in $(TARGETS); do mkdir -p fuzz/corpus/$$target && \
	    $(CARGO) +nightly fuzz run $$target fuzz/corpus/$$target corpus/$$target -- -max_total_time=$(SECONDS) || exit 1; done

# Two million requests, half of them bad, and then how long a ping takes under other clients' loads; some ten minutes, as root.
# Figures (docs/soak.md), not a test, but for what the daemon keeps: it fails where that grew.
soak: build
	GUESTD_STAGE=$(abspath $(STAGE)) $(CARGO) run --release -p guestd-soak
	GUESTD_STAGE=$(abspath $(STAGE)) $(CARGO) run --release -p guestd-soak -- --latency

# What needs no built daemon: format, lints, documentation, licences.
check:
	tests/check.sh

# Writes docs/commands anew, from the sets' types, manifests and reference.toml.
reference:
	$(CARGO) run --quiet -p guestd-reference

clean:
	$(CARGO) clean
