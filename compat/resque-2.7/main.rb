# Runs every part of the test against one server, prints the figures, and exits with 0 only if all of them are right.
require "fileutils"
require "tmpdir"
require_relative "../lib/target"
require_relative "../lib/figures"
require_relative "../lib/children"
require_relative "../lib/waiting"

target = Target.new(ARGV)
folder = Dir.mktmpdir("millpond-resque-")
FileUtils.touch(File.join(folder, "ledger"))
# The workers inherit both.
ENV["COMPAT_REDIS_URL"] = target.url
ENV["COMPAT_DIRECTORY"] = folder

require_relative "jobs"
require_relative "part"
require_relative "rule_part"
PARTS = %w[queues bulk forks order failures retries delays schedules masters signals crashes applications pages].freeze
# Those about JOB.*, which only Millpond has.
RULE_PARTS = %w[blackhole flight pausing limits handback fulldisk activejob].freeze
[*PARTS, *RULE_PARTS].each { |name| require_relative "parts/#{name}" }

GEMS = %w[resque resque-scheduler resque-retry redis redis-namespace activejob sinatra rack].freeze
versions = GEMS.map { |name| "#{name} #{Gem.loaded_specs.fetch(name).version}" } << "ruby #{RUBY_VERSION}"

figures = Figures.new("resque-2.7", target)
children = Children.new(File.join(folder, "logs"))
refusal = JobRules.new(target.wire).refusal
puts "left out: #{RULE_PARTS.join(", ")}: the server answers JOB.RULES with `#{refusal}`" if refusal
[*PARTS, *(refusal ? [] : RULE_PARTS)].each { |name| Object.const_get(name.capitalize).new(target, figures, children).run }
right = figures.finish(versions: versions.join(", "), jobs: Ledger.finished_in_all + Deeds.count("finished"))

children.end_all
right ? FileUtils.rm_rf(folder) : puts("logs of the processes: #{folder}/logs")
exit(right ? 0 : 1)
