# What jobs did, in a file that the server under test knows nothing of: it also counts those that run while the server's disk
# is nearly full and takes nothing new. Gates, by which jobs are held and let go, are files for the same reason.

require "fileutils"

module Deeds
  # Longer than any wait of a test, so that a job that was forgotten ends nevertheless.
  HOLD_SECONDS = 120

  module_function

  # Every process started from now on inherits where the file is.
  def keep_in(folder)
    ENV["COMPAT_DEEDS"] ||= folder.tap { FileUtils.touch(File.join(folder, "deeds")) }
  end

  # One short append is one system call, so that lines of several processes never mix.
  def note(deed, part, id)
    File.open(path, "a") { |file| file.syswrite("#{deed}\t#{part}\t#{id}\n") }
  end

  # Returns the ids that have done this in a part, in order, as often as they have.
  def ids(deed, part)
    beginning = "#{deed}\t#{part}\t"
    File.foreach(path, chomp: true).filter_map { |line| line.delete_prefix(beginning) if line.start_with?(beginning) }
  end

  # Returns how many jobs have done this in all parts so far.
  def count(deed)
    ENV["COMPAT_DEEDS"] ? File.foreach(path).count { |line| line.start_with?("#{deed}\t") } : 0
  end

  def open_gate(name)
    FileUtils.touch(File.join(ENV.fetch("COMPAT_DEEDS"), "gate-#{name}"))
  end

  def open?(name)
    File.exist?(File.join(ENV.fetch("COMPAT_DEEDS"), "gate-#{name}"))
  end

  def await(name)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + HOLD_SECONDS
    sleep 0.02 until open?(name) || Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
  end

  def path
    File.join(ENV.fetch("COMPAT_DEEDS"), "deeds")
  end
end

# What a job is told to do: a hash of `part`, whose figures it belongs to, of what rules look at, and of `how` it goes.
module Orders
  # Keeps a job away for an hour, and for a moment.
  class Fault < StandardError; end
  class PassingFault < StandardError; end

  MOMENT_SECONDS = 0.005

  module_function

  # Does as the order says; without `how` it ends at once.
  def carry_out(order, id)
    part = order.fetch("part")
    Deeds.note("begun", part, id)
    obey(order["how"], part, id)
    Deeds.note("finished", part, id)
  end

  def obey(how, part, id)
    case how
    when "take a moment" then sleep MOMENT_SECONDS
    when "hold" then Deeds.await("#{part}.released")
    when "hang" then hang_and_fail(part)
    when "fail" then fail_until_fixed(part)
    when "fail first" then raise Fault, "meant to fail the first time" if first?(part, id)
    when "fail briefly" then raise PassingFault, "meant to fail the first time" if first?(part, id)
    end
  end

  def hang_and_fail(part)
    Deeds.await("#{part}.released")
    fail_until_fixed(part)
  end

  def fail_until_fixed(part)
    raise Fault, "meant to fail until the code is fixed" unless Deeds.open?("#{part}.fixed")
  end

  def first?(part, id)
    Deeds.ids("begun", part).count(id) == 1
  end
end
