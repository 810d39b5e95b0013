# Installs what a client's test needs and is not there. Sourced by each folder's `run`.

# Installs Debian packages that are missing.
need_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ]; then
    echo "missing packages; as root: apt-get install ${missing[*]}" >&2
    exit 2
  fi
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# Installs the Gemfile of folder $1 into a cache folder named after it, and points Bundler there. The gems come from the
# folder MILLPOND_GEMS where there is one, else from the machine's own gem source. A complete cache is used again.
need_bundle() {
  local name top gems want
  name=$(basename "$1")
  top=$(cd "$1/../.." && pwd)
  gems=${MILLPOND_GEMS:-$top/../shared/gems}
  export BUNDLE_ROOT=${XDG_CACHE_HOME:-$HOME/.cache}/millpond-compat/$name
  export BUNDLE_GEMFILE=$BUNDLE_ROOT/Gemfile BUNDLE_PATH=$BUNDLE_ROOT/gems BUNDLE_APP_CONFIG=$BUNDLE_ROOT/.bundle
  # Without this Bundler deletes from the folder every gem that the set does not need.
  export BUNDLE_NO_PRUNE=true BUNDLE_SILENCE_ROOT_WARNING=true

  want=$(cat "$1/Gemfile" <(ruby -v) | cksum)
  [ "$(cat "$BUNDLE_ROOT/complete" 2>/dev/null)" = "$want" ] && return
  mkdir -p "$BUNDLE_ROOT"
  rm -f "$BUNDLE_ROOT/complete" "$BUNDLE_ROOT/Gemfile.lock"
  cp "$1/Gemfile" "$BUNDLE_ROOT/Gemfile"
  if [ -d "$gems/cache" ]; then
    BUNDLE_CACHE_PATH=$(cd "$gems/cache" && pwd) bundle install --local --quiet >&2
  else
    bundle install --quiet >&2
  fi
  echo "$want" > "$BUNDLE_ROOT/complete"
}
