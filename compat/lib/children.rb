# Starts the processes under test, signals them, and ends every one of them when the test ends, however it ends.

require "fileutils"
require_relative "waiting"

class Children
  # Each child leads a process group of its own, so that what it forks goes with it.
  class Child
    attr_reader :name, :pid, :log

    def initialize(name, pid, log)
      @name, @pid, @log = name, pid, log
      @status = nil
    end

    def signal(name)
      Process.kill(name, @pid) unless exited?
    end

    def exited?
      return true if @status

      _, @status = Process.wait2(@pid, Process::WNOHANG)
      !@status.nil?
    end

    # Waits for the end of the process and returns its exit code, or the name of the signal that ended it.
    def wait(within: Waiting::SECONDS_MAX)
      Waiting.eventually("#{name} has ended", within: within) { exited? }
      @status.signaled? ? Signal.signame(@status.termsig) : @status.exitstatus
    end

    # Sends the signal and waits for the end.
    def stop(signal_name = "TERM", within: Waiting::SECONDS_MAX)
      signal(signal_name)
      wait(within: within)
    end

    # Ends the process and everything it forked, at once.
    def end_now
      Process.kill("KILL", -@pid)
    rescue Errno::ESRCH
      nil
    ensure
      wait unless exited?
    end

    def log_text
      File.read(@log, encoding: Encoding::UTF_8).scrub
    end
  end

  attr_reader :all

  def initialize(log_folder)
    @log_folder = log_folder
    @all = []
    FileUtils.mkdir_p(log_folder)
    at_exit { end_all }
  end

  # Starts a command with its output going to a file of its own.
  def start(name, command, environment: {}, folder: Dir.pwd)
    log = File.join(@log_folder, "#{@all.size.to_s.rjust(2, "0")}-#{name}.log")
    pid = Process.spawn(environment, *command, chdir: folder, in: File::NULL, out: log, err: [:child, :out], pgroup: true)
    Child.new(name, pid, log).tap { |child| @all << child }
  end

  def end_all
    @all.reject(&:exited?).each(&:end_now)
  end

  # Returns the lines of all logs that match, each with its process's name before it.
  def log_lines(pattern)
    @all.flat_map { |child| child.log_text.lines(chomp: true).grep(pattern).map { |line| "#{child.name}: #{line}" } }
  end
end
