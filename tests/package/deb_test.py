"""cpack -G DEB: what the package holds, without installing it. Leaves the package for service_test.py."""
import os
import re
import shutil
import stat
import unittest

import support
from support import BUILD, SOURCE, run

KEPT = BUILD / 'package-test'


class Deb(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        work = support.scratch()
        run('cpack', '-G', 'DEB', '--config', BUILD / 'CPackConfig.cmake', '-B', work, cwd=work, timeout=100)
        built, = work.glob('*.deb')
        shutil.rmtree(KEPT, ignore_errors=True)
        KEPT.mkdir()
        cls.deb = KEPT / 'paradoxplex.deb'
        shutil.move(built, cls.deb)
        cls.name = built.name
        cls.root = support.scratch()
        run('dpkg-deb', '-R', cls.deb, cls.root)

    def field(self, name):
        return run('dpkg-deb', '-f', self.deb, name).stdout.strip()

    def test_has_the_name_and_version_of_the_project(self):
        version = re.search(r'project\(paradoxplex VERSION ([\d.]+)', (SOURCE / 'CMakeLists.txt').read_text())[1]
        architecture = run('dpkg', '--print-architecture').stdout.strip()
        self.assertEqual(self.field('Package'), 'paradoxplex')
        self.assertEqual(self.field('Version'), version)
        self.assertEqual(self.name, f'paradoxplex_{version}_{architecture}.deb')

    def test_depends_on_the_libraries_that_its_programs_load(self):
        depends = self.field('Depends')
        self.assertIn('systemd | systemd-standalone-sysusers', depends)
        programs = [*self.root.glob('usr/bin/*'), *self.root.glob('usr/libexec/paradoxplex/*')]
        self.assertEqual(len(programs), 10)
        needed = set()
        for program in programs:
            needed |= set(re.findall(r'NEEDED +(\S+)', run('objdump', '-p', program).stdout))
        for library in needed:
            owner = run('dpkg', '-S', f'*/{library}').stdout.split(':')[0]
            names = [owner, *re.findall(r'[a-z][\w.+-]+', run('dpkg-query', '-W', '-f', '${Provides}', owner).stdout)]
            self.assertTrue(any(re.search(rf'(^| ){re.escape(name)}( |,|$)', depends) for name in names),
                            f'{library} of {names}')

    def test_configuration_is_a_conffile_and_the_only_file_outside_usr(self):
        self.assertEqual((self.root / 'DEBIAN/conffiles').read_text(), '/etc/paradoxplex/paradox.toml\n')
        outside = [p for p in self.root.rglob('*') if p.is_file()
                   and not p.is_relative_to(self.root / 'usr') and not p.is_relative_to(self.root / 'DEBIAN')]
        self.assertEqual(outside, [self.root / 'etc/paradoxplex/paradox.toml'])

    def test_holds_exactly_what_an_installation_holds(self):
        def files(root):
            return {str(p.relative_to(root)) for p in root.rglob('*')
                    if not p.is_dir() and not p.is_relative_to(root / 'DEBIAN')}
        self.assertEqual(files(self.root), files(support.install()))

    def test_belongs_to_root_and_nobody_else_may_write(self):
        for line in run('dpkg-deb', '-c', self.deb).stdout.splitlines():
            self.assertRegex(line, r'^(lrwxrwxrwx|[-d]rw[x-]r-[x-]r-[x-]) root/root ')
        for path in self.root.rglob('*'):
            self.assertFalse(path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID), path)

    def test_programs_are_stripped_and_name_no_path_of_the_build(self):
        for program in [*self.root.glob('usr/bin/*'), *self.root.glob('usr/libexec/paradoxplex/*')]:
            self.assertNotIn('.symtab', run('objdump', '-h', program).stdout)
            self.assertNotRegex(run('objdump', '-p', program).stdout, 'RPATH|RUNPATH')

    def test_scripts_handle_every_unit_and_ask_nothing(self):
        units = {p.name for p in (self.root / 'usr/lib/systemd/system').iterdir()}
        self.assertIn('paradoxd.service', units)
        for script in ('postinst', 'prerm', 'postrm'):
            file = self.root / 'DEBIAN' / script
            self.assertTrue(os.access(file, os.X_OK))
            run('sh', '-n', file)
            self.assertNotRegex(file.read_text(), r'@\w+@')
        self.assertEqual(set(re.search(r'(?m)^units="(.*)"$', (self.root / 'DEBIAN/prerm').read_text())[1].split()),
                         units)

    def test_lintian_finds_no_fault(self):
        # There is no mail address yet, and nothing but systemctl reaches what a crash has left.
        accepted = 'bogus-mail-host,bogus-mail-host-in-debian-changelog,maintainer-script-calls-systemctl'
        run('lintian', '--allow-root', '--fail-on', 'warning', '--suppress-tags', accepted, self.deb, timeout=60)


if __name__ == '__main__':
    unittest.main(verbosity=2)
